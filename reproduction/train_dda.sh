#!/bin/sh
# The autoencoders of docs/autoencoder.md and the data they are scored on. First the shipped, compact ones, whose layers are
# narrower, on the first BOXES boxes of each kind (as many as the shipped ones had; more are better), then those of the paper's
# size: some five hours of one core.
#
#     sh reproduction/train_dda.sh DIR
#     python -m reproduction.dda_compact --models DIR/compact_noise,DIR/compact_clean,DIR/compact_dirty,DIR/compact_sky \
#         --web validation:2 -n 4
#     python -m reproduction.dda \
#         --models DIR/dda_identity,DIR/dda_identity_small,DIR/dda_noise,DIR/dda_dirty,DIR/dda_clean \
#         --data DIR/clean_sky1 --data DIR/clean_sky2 -n 4 --size 1000 --dirty 3 \
#         --methods denoiser,pybdsf,aegean,starlet,gaussian,gaussian_paper,fft,threshold,clean,input,constant
set -eu
dir=$1
compact() { # name, product, epochs, batch, and further settings
    name=$1 product=$2 epochs=$3 batch=$4
    shift 4
    faintsky train dda --data "$dir/compact/pairs" --out "$dir/$name" --seed 0 --set product="$product" \
        --set epochs="$epochs" --set batch_size="$batch" --set learning_rate=0.001 --set rate=cosine --set warmup=50 \
        --set tile=32 --set features=16 --set dense=400 --set floor=5e-8 --set empty=0.1 --set calibrate=1e-7 "$@"
}
python -m reproduction.dda_data "$dir/compact" --web "train:${BOXES:-2}"
compact noise_1 noise 8 100
compact clean_1 clean 6 100 --init "$dir/noise_1"
compact compact_dirty dirty 4 50 --init "$dir/clean_1"
compact compact_noise noise 3 50 --init "$dir/noise_1"
compact compact_clean clean 2 50 --init "$dir/clean_1"
compact compact_sky sky 1 50 --init "$dir/clean_1"
mkdir -p "$dir/webs"
# the first realisation of each kind of the split
python - "$dir/webs" <<'PYTHON'
import sys
from faintsky.sky.web import cached_box, save_box, wanted_boxes

for kind in ("sky1", "sky2"):
    save_box(cached_box(wanted_boxes("train", kind)[0], "cpu"), f"{sys.argv[1]}/{kind}.npz")
PYTHON
faintsky simulate lofar --out "$dir/pairs" -n 40 --seed 7100 --web "$dir/webs" --products compact
faintsky simulate lofar --out "$dir/clean" -n 13 --seed 7200 --size 1000 --web "$dir/webs" --products sky,clean,pb
for kind in sky1 sky2; do
    faintsky simulate lofar --out "$dir/clean_$kind" -n 4 --seed 0 --size 1000 --web test --field "$kind" \
        --products sky,dirty,clean,psf,pb
done
train() { # name, data, product, tiles, epochs, and further settings
    name=$1 data=$2 product=$3 tiles=$4 epochs=$5
    shift 5
    faintsky train dda --data "$data" --out "$dir/$name" --seed 0 --set product="$product" --set tiles="$tiles" \
        --set epochs="$epochs" --set batch_size=25 --set augment=false "$@"
}
# first at the paper's constant rate, then at one that falls to a hundredth; 0 tiles are all of them
train identity_1 "$dir/pairs" sky 2000 8
train identity_2 "$dir/pairs" sky 3000 25 --init "$dir/identity_1"
train dda_identity "$dir/pairs" sky 3000 25 --init "$dir/identity_2" --set rate=cosine
train dda_noise_1 "$dir/pairs" noise 3000 12
train dda_noise "$dir/pairs" noise 3000 12 --init "$dir/dda_noise_1" --set rate=cosine
train dirty_1 "$dir/pairs" dirty 3000 12
train dda_dirty "$dir/pairs" dirty 0 5 --init "$dir/dirty_1" --set rate=cosine
train dda_clean_1 "$dir/clean" clean 0 10
train dda_clean "$dir/clean" clean 0 40 --init "$dir/dda_clean_1" --set rate=cosine
# a variant: smaller tiles, and a dense layer that leaves two of five values of each
small="--set batch_size=100 --set rate=cosine --set learning_rate=0.0005 --set tile=32 --set levels=1 --set dense=400"
train small_1 "$dir/pairs" sky 40000 12 $small
train dda_identity_small "$dir/pairs" sky 0 4 --init "$dir/small_1" --seed 1 $small
