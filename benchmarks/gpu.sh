#!/usr/bin/env bash
# Measures training steps, decoding and a real training on a machine with JAX and a GPU, and nothing
# else: no TensorFlow, no network. All of it takes at most nine minutes.
#
#   make gpu-wheels                                 # where there is a network: build/gpu/wheels
#   python -m benchmarks.gpu.batches --examples=demo/pipeline/FinetuneExamples/examples/ID \
#       --output=build/gpu/batches.npz              # where there are TensorFlow and records
#   benchmarks/gpu.sh [step] [decode] [train]       # on the machine; all three if none is named
#
#   --wheels=FOLDER   packages that the machine lacks; default build/gpu/wheels, if it is there
#   --batches=FILE    to train on; default build/gpu/batches.npz
#   --output=FOLDER   of the results; default build/gpu/results
#   --tiny            small networks and no limit of time, to try this script on a processor
#
# PYTHON names the interpreter. A part that takes longer than its share is stopped, with what it has
# measured on disk. The results are gpu.json and gpu.md; compiled programs stay below the output's
# folder, so that a second run need not compile.
set -uo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=${PYTHON:-python3}
WHEELS=$ROOT/build/gpu/wheels BATCHES=$ROOT/build/gpu/batches.npz OUTPUT=$ROOT/build/gpu/results
# Seconds of each part: with 30 for the rest, nine minutes.
declare -A LIMIT=([step]=270 [decode]=110 [train]=130)
PARTS=() TINY=()

for argument in "$@"; do
  case $argument in
    step | decode | train) PARTS+=("$argument") ;;
    --wheels=*) WHEELS=$(realpath -m "${argument#*=}") ;;
    --batches=*) BATCHES=$(realpath -m "${argument#*=}") ;;
    --output=*) OUTPUT=$(realpath -m "${argument#*=}") ;;
    --tiny) TINY=(--tiny) LIMIT=([step]=0 [decode]=0 [train]=0) ;;
    *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
  esac
done
[ ${#PARTS[@]} -gt 0 ] || PARTS=(step decode train)

cd "$ROOT" && mkdir -p "$OUTPUT" || exit 1
export KERAS_BACKEND=jax PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
if compgen -G "$WHEELS/*.whl" > /dev/null; then
  # By what it is made of: other wheels are other packages.
  SITE=$OUTPUT/cache/site-$(cd "$WHEELS" && ls ./*.whl | cksum | cut -d' ' -f1)
  [ -d "$SITE" ] || "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile \
    --disable-pip-version-check --target "$SITE" "$WHEELS"/*.whl || exit 1
  export PYTHONPATH="$SITE:$PYTHONPATH"
fi
# The processes of a part share the device, and what one has compiled serves the next run.
export XLA_PYTHON_CLIENT_PREALLOCATE=false
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$OUTPUT/cache/jax}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=${JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS:-1}

failed=0
for part in "${PARTS[@]}"; do
  options=("--output=$OUTPUT")
  if [ "$part" = train ]; then
    options+=("--batches=$BATCHES")
  else
    options+=("${TINY[@]}")
  fi
  SECONDS=0
  timeout -k 5 "${LIMIT[$part]}" "$PYTHON" -m "benchmarks.gpu.$part" "${options[@]}"
  status=$?
  if [ $status -ne 0 ]; then
    failed=1
    reason="with status $status"
    [ $status -eq 124 ] && reason="at its limit of ${LIMIT[$part]} s"
    echo "gpu.sh: $part ended $reason" >&2
  fi
  echo "gpu.sh: $part took $SECONDS s" >&2
done
"$PYTHON" -m benchmarks.gpu.report "--output=$OUTPUT" && cat "$OUTPUT/gpu.md" || failed=1
exit $failed
