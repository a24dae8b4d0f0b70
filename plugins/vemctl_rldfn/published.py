"""What is published for rldfn: a network, and the authors' point spread functions."""

from vemctl.plugin import PublishedFile, Weights

FOLDER = (
    "github:Intelligent-SR-Imaging/Meta-rLLS-VSIM@ae8d75d227184d574137ae2aa5037cf5a6b37701/"
    "Code_for_3D_IsoRecon"
)
LICENCE = "none stated; ask the authors before passing it on"

PUBLISHED = (
    Weights(
        name="rldfn/f-actin",
        files=(
            PublishedFile(
                "Pretrained_Model_RL_DFN.zip",
                # The first is named by the repository, the second by notes in its data folders.
                (
                    "doi:10.5281/zenodo.13486221/Pretrained_Model_RL_DFN.zip",
                    "doi:10.5281/zenodo.13622260/Pretrained_Model_RL_DFN.zip",
                ),
                members=("net_FA.pth", "net_G.pth"),
                extra_members=("net_FB.pth", "netD_A.pth", "netD_B.pth"),
            ),
        ),
        licence="as the record states",
        note="Trained by its authors on F-actin. The first fetch pins it.",
    ),
    *(
        Weights(
            name=f"rldfn/psf-{view}",
            files=(
                PublishedFile(
                    f"PSF_{view.upper()}1.tif",
                    (f"{FOLDER}/PSFs/PSF_{view.upper()}1.tif",),
                    f"git-blob:{blob}",
                ),
            ),
            licence=LICENCE,
            note=f"Point spread function of view {view.upper()} of the authors' microscope.",
            kind="optics",
        )
        for view, blob in (
            ("a", "14785d52ddfc136151304191d2c41d94831028a2"),
            ("b", "03d0fbb7dd7bf424716eb8b24226471fa97001ee"),
        )
    ),
)
