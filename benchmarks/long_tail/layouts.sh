#!/bin/sh
# Collect in other layouts than the chain of policies.sh, at about its cost: layouts.sh a 2, where
# 2 is the number of processes. Three collections each, from the same networks.
set -eu
task=$1
workers=$2
runs=runs/long_tail/sensitivity_$task/runs
folder=runs/long_tail/policies_$task
for number in 0 1 2; do
    from="run=$runs/fixed_0.35-seed-10$number seed=$number"
    echo "$from output=$folder/single-$number layout=single epochs=45"
    echo "$from output=$folder/branches-$number layout=branches branches=4 epochs=11"
    echo "$from output=$folder/short-$number chains=4 epochs=11"
done | xargs -P "$workers" -L 1 fairloss collect
