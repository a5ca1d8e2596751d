#!/bin/sh
# Learn the policies of a task: three collections, each from the network of fixed_0.35 of one seed
# and used by this and the next seeds. benchmarks/long_tail/policies.sh task_a 4
set -eu
task=$1
seeds=$2 # of a collection
folder=runs/long_tail/$task
policies=$folder/policies
mkdir -p "$policies"
for number in 0 1 2; do
    first=$((number * seeds))
    collection=$folder/collections/$number
    fairloss collect run="$folder/runs/fixed_0.35-seed-$first" output="$collection" seed="$number"
    fairloss fit-policy "$collection/experience.npz" --reward paper --output "$collection/paper.json"
    fairloss fit-policy "$collection/experience.npz" --output "$collection/own_and_common.json"
    for seed in $(seq $first $((first + seeds - 1))); do
        cp "$collection/paper.json" "$policies/fair_loss-$seed.json"
        cp "$collection/own_and_common.json" "$policies/own_and_common-$seed.json"
        for control in shuffled random; do
            fairloss fit-policy "$collection/paper.json" --control $control --seed "$seed" \
                --output "$policies/$control-$seed.json"
        done
    done
done
for control in raise keep; do
    fairloss fit-policy "$policies/fair_loss-0.json" --control $control \
        --output "$policies/$control.json"
done
