"""Weights for denoise that are published, and those that the package carries."""

from vemctl.plugin import PublishedFile, Weights, packaged

REPOSITORY = "github:hmzawz2/OptimizedAcquisition4vEM@faea1f66cb5844c07ec364941117f3b9cbae3253/ckpt"

PUBLISHED = (
    Weights(
        name="denoise/supervised",
        files=(
            PublishedFile(
                "supervised.pth",
                (f"{REPOSITORY}/Fig2/supervised.pth",),
                "git-blob:841e65fff246d10589be9e2be141a28d933a0997",
            ),
        ),
        licence="MIT",
        note="Trained by its authors on registered fast and slow scans of one volume; they say "
        "to try it first. Blocks of 5 slices.",
        default=True,
    ),
    Weights(
        name="denoise/self-supervised",
        files=(
            PublishedFile(
                "self-supervised.pth",
                (f"{REPOSITORY}/Fig3/self-supervised.pth",),
                "git-blob:bf4e73fe8b1cf54068d1c439bc4911cae041d3cf",
            ),
        ),
        licence="MIT",
        note="Trained by its authors on a fast scan alone. Blocks of 9 slices: --tile 9,256,256.",
    ),
    Weights(
        name="denoise/demo",
        files=packaged(
            "vemctl_denoise/demo.safetensors",
            "87250f4653e387ad1b3cde5e6cfe45e1c75b9100423c4afd6fefbf4d332504e8",
        ),
        licence="MIT",
        note="Trained by this project on synthetic EM (vemctl.samples); for `vemctl demo` and "
        "for trying things, not for science.",
    ),
)
