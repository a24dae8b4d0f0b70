#!/usr/bin/env bash
# Raw reflective lattice light-sheet data to one fused, near-isotropic volume, in four steps.
#
#     rlls_vsim.sh RAW OUT_FOLDER
#
# RAW is a raw stack, or a folder with one for each time point of a series. OUT_FOLDER gets deskewed,
# sr.zarr, views and fused.zarr. What is there is kept and what was interrupted is continued: run it
# again whenever it stopped. For other settings delete the results of their step and of those after
# it, or take another folder.
#
# Settings are environment variables:
#
#     VSISR_WEIGHTS     of super-resolution: a name, a file or a training run (vsisr/f-actin)
#     WAVELENGTH        of excitation, for the authors' transfer functions (488)
#     OTF               a folder of other transfer functions, instead of WAVELENGTH
#     RLDFN_WEIGHTS     of the fusion (rldfn/f-actin)
#     PSF_A, PSF_B      point spread functions of the views (rldfn/psf-a, rldfn/psf-b); if both are
#                       empty, those that the weights bring, or theoretical ones
#     DEVICE            of both networks (auto)
#     DESKEW_OPTIONS, RESOLVE_OPTIONS, SPLIT_OPTIONS, FUSION_OPTIONS
#                       more options of a step, such as FUSION_OPTIONS="--tile 128,192,192 --margin 16"
set -euo pipefail
set -f # words in *_OPTIONS are no file patterns

if [[ $# -ne 2 ]]; then
    echo "usage: ${0##*/} RAW OUT_FOLDER" >&2
    exit 2
fi
raw=$1
out=$2

vsisr_weights=${VSISR_WEIGHTS:-vsisr/f-actin}
rldfn_weights=${RLDFN_WEIGHTS:-rldfn/f-actin}
device=${DEVICE:-auto}
optics=(--wavelength "${WAVELENGTH:-488}")
if [[ -n ${OTF:-} ]]; then
    optics=(--otf "$OTF")
fi
psf_a=${PSF_A-rldfn/psf-a}
psf_b=${PSF_B-rldfn/psf-b}
psfs=()
if [[ -n $psf_a$psf_b ]]; then
    psfs=(--psf-a "$psf_a" --psf-b "$psf_b")
fi

mkdir -p "$out"

# What is in *_OPTIONS is several words, and an empty list must be no word in old shells, too.
# shellcheck disable=SC2086
{
    echo "step 1 of 4: average the phases, undo the shear, subtract the background"
    if [[ -d $out/deskewed ]]; then
        echo "$out/deskewed is there"
    else
        vemctl prepare vsisr "$raw" "$out/deskewed" ${DESKEW_OPTIONS:-}
    fi

    echo "step 2 of 4: super-resolve along y and x"
    vemctl predict vsisr "$out/deskewed" "$out/sr.zarr" -w "$vsisr_weights" "${optics[@]}" \
        --device "$device" --resume ${RESOLVE_OPTIONS:-}

    echo "step 3 of 4: rotate into the frame of the coverslip, find the mirror, split there"
    if [[ -d $out/views ]]; then
        echo "$out/views is there"
    else
        vemctl prepare rldfn "$out/sr.zarr" "$out/views" --common-split ${SPLIT_OPTIONS:-}
    fi

    echo "step 4 of 4: fuse both views"
    vemctl predict rldfn "$out/views/ViewA" "$out/fused.zarr" --view-b "$out/views/ViewB" \
        -w "$rldfn_weights" ${psfs[@]+"${psfs[@]}"} --device "$device" --resume ${FUSION_OPTIONS:-}
}
echo "done: $out/fused.zarr"
