#!/bin/sh
# Checks protem's k-means on this machine's GPU against its processor, times it beside other programs,
# and writes report/report.json and report/report.md; takes less than ten minutes.
#
#   ./run.sh            PyTorch, faiss and flash-kmeans as far as python3 (or $PYTHON) has them
#   ./run.sh --install  puts them into ./peers first, by pip: some gigabytes, and their time comes on top
#
# Without a network, wheels of what python3 lacks can lie in ./wheels (`pip download --no-deps -d wheels
# flash-kmeans`): they are used beside what it has. Where compute-sanitizer is on the PATH, it watches
# a run of the kernels. `--minutes N` is how long all may take, 9 if not said.
#
# Needs a GPU of compute capability 8.0 or above and its driver (580 or later). Images of the kernels are
# in ./cache; for a GPU of another kind NVRTC of CUDA 12 or 13 has to be there. The report names what
# could not be measured, and why.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3}
if [ "${1-}" = --install ]; then
  shift
  { "$python" -m venv peers && peers/bin/python -m pip install -r requirements.txt; } ||
    echo "run.sh: not all of the other programs could be installed; going on with those there are" >&2
fi
if [ -x peers/bin/python ]; then python=peers/bin/python; fi
if [ -d wheels ]; then
  "$python" -m pip install --quiet --no-index --no-deps --upgrade --target beside wheels/*.whl ||
    echo "run.sh: ./wheels could not be installed; going on without" >&2
  export PYTHONPATH="$PWD/beside${PYTHONPATH:+:$PYTHONPATH}"
fi
failed=0
XDG_CACHE_HOME="$PWD/cache" ./gpu report --out report --python "$python" --peers gpu_kmeans.py "$@" > report.log || failed=$?
echo "see report/report.md"
exit "$failed"
