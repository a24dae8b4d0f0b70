"""What is published for vsisr: two networks, and the transfer functions of the authors' microscope.

The repository is that of "Fast adaptive super-resolution lattice light-sheet microscopy for rapid,
long-term, near-isotropic subcellular imaging" (bioRxiv 2024.05.09.593386).
"""

from vemctl.plugin import PublishedFile, Weights

FOLDER = (
    "github:Intelligent-SR-Imaging/Meta-rLLS-VSIM@ae8d75d227184d574137ae2aa5037cf5a6b37701/"
    "Code_for_2D_IsoRecon"
)
LICENCE = "none stated; ask the authors before passing it on"
APODISATION = "1bd1c34415839f709f8154b41a54e5da394d312ed8147a67309ca702896aac05"
META_BLOB = "25c2e49cf56afca6bf782a772bb360f636b22408"
"""The meta-trained network's content, as Git knows it."""
TRANSFER_FUNCTIONS = {
    488: (
        "fc761b159dc819cc6ad3c14db7160bd8738abfd691d4589a1e4f54b997f110d6",
        "fa1c8d5435339eb93ac086afcef09d8b2eb5bef7c0f775859e04a20a077a43e9",
    ),
    560: (
        "bdd9ce7a7b2d4361b4c2c174c8e2871a3d2ab54308be40c8ec178c395c374a0d",
        "b6b8716592b63ddd6da1edeb2d1d9f8e59a3ab3df8972b51c73e9c42dc6f2bda",
    ),
    642: (
        "41d66716f53e5c3116313bbe81ce7425ab0b86f6a14744ae841c198884a00175",
        "4a5be2871239bfa5cc4c678a18e53c6c27bd4b879cf957409a5cf1765f87839e",
    ),
}


def _transfer_functions(wavelength: int) -> Weights:
    digests = (*TRANSFER_FUNCTIONS[wavelength], APODISATION)
    names = ("OTF0.tif", "OTF1.tif", "apo_0.9_1.5.tif")
    return Weights(
        name=f"vsisr/otf-{wavelength}",
        files=tuple(
            PublishedFile(name, (f"{FOLDER}/OTF/{wavelength}/{name}",), f"sha256:{digest}")
            for name, digest in zip(names, digests, strict=True)
        ),
        licence=LICENCE,
        note=f"Optical transfer functions and apodisation of the authors' microscope at "
        f"{wavelength} nm.",
        kind="optics",
    )


PUBLISHED = (
    Weights(
        name="vsisr/f-actin",
        files=(
            PublishedFile(
                "F-actin.pth",
                (f"{FOLDER}/finetuned_model/Factin/F-actin.pth",),
                "git-blob:6d29d766701d19f8ef9db0887cf799f4f7df5973",
            ),
        ),
        licence=LICENCE,
        note="Fine-tuned by its authors on F-actin.",
    ),
    Weights(
        name="vsisr/meta",
        files=(
            PublishedFile(
                "meta_model.pth",
                (f"{FOLDER}/trained_meta_model/meta_model.pth",),
                f"git-blob:{META_BLOB}",
            ),
        ),
        licence=LICENCE,
        note="The meta-trained model, from which to fine-tune on a structure of one's own.",
    ),
    *map(_transfer_functions, TRANSFER_FUNCTIONS),
)
