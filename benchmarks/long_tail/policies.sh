#!/bin/sh
# Learn the policies of a task: policies.sh a 12, after the sensitivity runs of the task. Three
# collections, each from the network of fixed_0.35 of one sensitivity seed; every third seed uses
# the same one.
set -eu
task=$1
seeds=$2
runs=runs/long_tail/sensitivity_$task/runs
folder=runs/long_tail/policies_$task
mkdir -p "$folder"
for number in 0 1 2; do
    collection=$folder/collection-$number
    [ -f "$collection/experience.npz" ] ||
        fairloss collect run="$runs/fixed_0.35-seed-10$number" output="$collection" seed="$number"
    fairloss fit-policy "$collection/experience.npz" --reward paper --output "$collection/paper.json"
    fairloss fit-policy "$collection/experience.npz" --output "$collection/own_and_common.json"
done
for seed in $(seq 0 $((seeds - 1))); do
    collection=$folder/collection-$((seed % 3))
    cp "$collection/paper.json" "$folder/fair_loss-$seed.json"
    cp "$collection/own_and_common.json" "$folder/own_and_common-$seed.json"
    for control in shuffled random; do
        fairloss fit-policy "$collection/paper.json" --control $control --seed "$seed" \
            --output "$folder/$control-$seed.json"
    done
done
for control in raise keep; do
    fairloss fit-policy "$folder/collection-0/paper.json" --control $control \
        --output "$folder/$control.json"
done
