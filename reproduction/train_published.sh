#!/bin/sh
# The networks behind the tables of DeepFocus: first the compact ones that are shipped as `deepfocus`, on one core
# in two hours, then those of the paper's width, on two cores in four.
#
#     sh reproduction/train_published.sh DIR
#
# Compact: the same architectures, but Blobs Finder's images have 208 pixels, where all sources of `paper` cubes
# are, its dense layers see 8 feature maps and begin as an identity, and the residual networks have a quarter of
# the channels, three of them with a stem of stride 2 as in the authors' code. Blobs Finder learns from 25,600
# fresh cubes, the others from 597 of 702 (seed 1). Thresholds are fitted on cubes of seed 9000.
#
# Full width: 5,000 cubes of `paper` (seed 1), of which 3,000 train and 1,000 validate. The paper's schedule
# (batches of 64 at a constant 1e-4, hundreds of epochs) is what `faintsky train` does by itself; here smaller
# batches and a falling rate reach its loss in a tenth of the epochs. Goes on after a stop.
set -e
dir=${1:?where to}
data=$dir/data

few=$dir/compact/data
falling="--set warmup=100 --set rate=cosine --set patience=1000 --set window=0"
faintsky simulate alma -n 702 --seed 1 --products compact --jobs 2 --out "$few"
blobs() { # name, steps, rate, and further settings
    name=$1 steps=$2 rate=$3
    shift 3
    faintsky train blobs_finder --simulate paper --out "$dir/compact/$name" $falling --set size=208 --set squeeze=8 \
        --set latent=1352 --set identity=true --set loss=sum --set augment=false --set batch_size=8 \
        --set learning_rate="$rate" --set steps="$steps" --set validate_every=200 --set keep_every=1 --set workers=1 \
        --set compiled=true "$@"
}
blobs blobs_finder_first 3200 2e-3
blobs blobs_finder 6000 1.5e-3 --init "$dir/compact/blobs_finder_first" --seed 1
stored() {
    name=$1
    network=$2
    shift 2
    faintsky train "$network" --data "$few" --out "$dir/compact/$name" $falling --set train=0.85 \
        --set validation=0.15 --set augment=true "$@"
}
stored deep_gru deep_gru --set epochs=30 --set batch_size=64 --set learning_rate=2e-3 --set weight_decay=1e-5
small="--set width=16 --set batch_size=32 --set learning_rate=1e-3"
stored fwhm_x shape_resnet --set parameter=fwhm_x $small --set epochs=12
for parameter in pa fwhm_y flux; do # a stem with stride 2 takes an eighth of the time
    stored $parameter shape_resnet --set parameter=$parameter $small --set stem=2 --set epochs=16
done
# without the second phase, whose worth has not been measured here
faintsky train deepfocus --data "$few" --out "$dir/compact/deepfocus" --set phase2_epochs=0 --set fit_cubes=72 \
    $(for key in blobs_finder deep_gru flux fwhm_x pa fwhm_y; do echo "--set $key=$dir/compact/$key"; done)

fast="--set batch_size=16 --set warmup=100 --set rate=cosine"
faintsky simulate alma -n 5000 --seed 1 --products compact --jobs 2 --out "$data"
train() {
    name=$1
    network=$2
    shift 2
    faintsky train "$network" --data "$data" --out "$dir/$name" "$@"
}
train blobs_finder_first blobs_finder $fast --set learning_rate=1e-3 --set epochs=16
train blobs_finder blobs_finder --init "$dir/blobs_finder_first" $fast --set learning_rate=7e-4 --set epochs=36
train deep_gru deep_gru --set epochs=69
resnet="--set batch_size=32 --set learning_rate=1e-3 --set warmup=100 --set rate=cosine --set epochs=5"
for parameter in flux fwhm_x pa fwhm_y; do
    train $parameter shape_resnet --set parameter=$parameter $resnet
done
train deepfocus deepfocus --set phase2_epochs=5 --set phase2_cubes=300 --set fit_cubes=100 \
    $(for key in blobs_finder deep_gru flux fwhm_x pa fwhm_y; do echo "--set $key=$dir/$key"; done)

# DECORAS, for comparison, and small residual networks for `shape_networks.py`
for loss in msle bce; do
    train decoras_$loss decoras --set loss=$loss --set batch_size=16 --set learning_rate=2e-3 --set warmup=50 \
        --set rate=cosine --set epochs=5
done
join() { # name of the whole, then its networks
    name=$1
    python - "$dir" "$@" <<'PYTHON'
import sys

from faintsky.published.decoras.find import join_networks

folder, name, *runs = sys.argv[1:]
join_networks([f"{folder}/{run}" for run in runs], f"{folder}/{name}")
PYTHON
    python -m reproduction.tune_baselines decoras --model "$dir/$name"
}
join DECORAS decoras_msle decoras_bce
join DECORAS_MSLE decoras_msle # alone, as in the paper
small="--set stem=2 --set width=32 --set epochs=3 --set batch_size=32 --set learning_rate=1e-3 --set warmup=100"
for parameter in pa all fwhm_x; do
    train small_$parameter shape_resnet --set parameter=$parameter $small --set rate=cosine
done
train small_pa_degrees shape_resnet --set parameter=pa --set angle=degrees $small --set rate=cosine
