#!/bin/sh
# The autoencoders of docs/autoencoder.md and the data they are scored on: some two and a half hours of one core.
#
#     sh benchmarks/train_dda.sh DIR
#     python benchmarks/dda_tables.py --models DIR/dda_identity,DIR/dda_noise,DIR/dda_dirty,DIR/dda_clean \
#         --data DIR/clean_sky1 --data DIR/clean_sky2 -n 4 --size 1000 --dirty 3 --methods \
#         denoiser,pybdsf,aegean,starlet,gaussian,gaussian_paper,fft,threshold,clean,input,constant
set -eu
dir=$1
mkdir -p "$dir/webs"
# the first realisation of each kind of the split
python - "$dir/webs" <<'PYTHON'
import sys
from faintsky.observing.webs import cached_box, wanted_boxes
from faintsky.sky.cosmic_web import save_box

for kind in ("sky1", "sky2"):
    save_box(cached_box(wanted_boxes("train", kind)[0], "cpu"), f"{sys.argv[1]}/{kind}.npz")
PYTHON
faintsky simulate lofar --out "$dir/pairs" -n 40 --seed 7100 --web "$dir/webs" --products compact
faintsky simulate lofar --out "$dir/clean" -n 13 --seed 7200 --size 1000 --web "$dir/webs" --products sky,clean,pb
for kind in sky1 sky2; do
    faintsky simulate lofar --out "$dir/clean_$kind" -n 4 --seed 0 --size 1000 --web test --field "$kind" \
        --products sky,dirty,clean,psf,pb
done
train() {
    faintsky train dda --data "$2" --out "$dir/dda_$1" --seed 0 --set product="$3" --set tiles="$4" \
        --set epochs="$5" --set batch_size=25
}
train identity "$dir/pairs" sky 2000 8
train noise "$dir/pairs" noise 3000 12
train dirty "$dir/pairs" dirty 3000 12
train clean "$dir/clean" clean 0 10
