"""What is published for pssr: the model for electron microscopy."""

from vemctl.plugin import PublishedFile, Weights

PUBLISHED = (
    Weights(
        name="pssr/em",
        files=(
            PublishedFile("PSSR_for_EM_1024.pkl", ("doi:10.18738/T8/YLCK5A/PSSR_for_EM_1024.pkl",)),
        ),
        licence="as the record states",
        note="Trained by its authors on scanning EM at 2 nm, for input at 8 nm: four times as many "
        "pixels in y and x. The first fetch pins it.",
        default=True,
    ),
)
