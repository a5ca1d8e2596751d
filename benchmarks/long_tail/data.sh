#!/bin/sh
# Draw the data of a task for given seeds: benchmarks/long_tail/data.sh a 0 1 2 ...
set -eu
task=$1
shift
folder=runs/data/long_tail/$(echo "$task" | tr ab AB)
mkdir -p "$folder"
for seed in "$@"; do
    case $task in
        a) shape="--fonts full --classes 800 --held-out-typefaces 8 --largest 40 --smallest 3" ;;
        b) shape="--fonts lite --classes 1000 --held-out-typefaces 4" ;;
    esac
    # shellcheck disable=SC2086  # several options
    fairloss data glyphs "$folder/$seed" $shape --validation 300 --test 500 --seed "$seed" --jobs 1
    # Validation and test are of about one size; of an identity with more typefaces eight are drawn.
    fairloss data cut "$folder/$seed/validation" --largest 8 --smallest 8 \
        --output "$folder/$seed-validation"
done
