#!/usr/bin/env bash
# Fine-tunes a small real language model on two ranks of this machine, and asks it "Who are you?" before and after.
# Sets up, builds and fetches what is missing; a second run goes straight to the training.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CONFIG=configs/quickstart.yaml
MODEL=models/SmolLM2-135M-Instruct
ADAPTER=runs/quickstart/adapter
QUESTION="Who are you?"
RANKS=2
step="starting"
trap 'echo "quickstart: failed while $step" >&2' ERR

say() { printf '\n== %s\n' "$*"; }

ask() {
  build/release/fttrain generate --model=$MODEL "$@" --prompt="$QUESTION" --max_new_tokens=48 --temperature=0
}

step="setting up"
say "Setting up"
launch/setup.sh

step="building"
say "Building (the first time takes some minutes)"
launch/build.sh --target fttrain

step="fetching the model"
say "Model: $MODEL"
.venv/bin/python launch/smollm2.py $MODEL

. launch/env.sh
step="asking the model as it is"
say "Asking the model as it is: $QUESTION"
before=$(ask)
echo "$before"

step="looking at the data"
say "fttrain data $CONFIG -n 1: what will be learnt, in [[ ]]"
build/release/fttrain data $CONFIG -n 1

step="training"
say "mpirun -np $RANKS build/release/fttrain --config=$CONFIG --set train.resume=never"
started=$SECONDS
fttrain_mpirun $RANKS build/release/fttrain --config=$CONFIG --set train.resume=never  # also when it is run again
trained_seconds=$((SECONDS - started))

step="asking the fine-tuned model"
after=$(ask --adapter=$ADAPTER)

say "$QUESTION"
fold -s -w 90 <<<"before: $before"
fold -s -w 90 <<<"after:  $after"
echo
echo "Training took $trained_seconds s. The adapter, a folder that Hugging Face PEFT loads: $PWD/$ADAPTER"
if [ "$before" = "$after" ]; then
  echo "quickstart: the answer did not change" >&2
  exit 1
fi
