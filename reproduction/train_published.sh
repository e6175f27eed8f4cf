#!/bin/sh
# The networks behind benchmarks/results/deepfocus, on two cores in some four hours.
#
#     sh reproduction/train_published.sh DIR
#
# 5,000 cubes of `paper` (seed 1), of which 3,000 train and 1,000 validate; thresholds on cubes of seed 9000. The
# paper's schedule (batches of 64 at a constant 1e-4, hundreds of epochs) is what `faintsky train` does by
# itself; here smaller batches and a falling rate reach its loss in a tenth of the epochs. Goes on after a stop.
set -e
dir=${1:?where to}
data=$dir/data
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
