#!/bin/sh
# Install what the package and its plug-ins import into the folder $1: the versions of requirements.lock, checked by its checksums.
#
# With TORCH_INDEX, torch and torchvision come from that index in the same versions, but without these checksums, and
# the libraries of CUDA are left out.
set -eu
target=$1

# uv is in the lock, too.
awk '/^[a-z]/ { wanted = /^uv==/ } wanted' requirements.lock > uv.txt
python3 -m venv /tmp/uv
/tmp/uv/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement uv.txt
uv() { /tmp/uv/bin/uv --no-cache pip "$@"; }
put() { uv install --python /usr/bin/python3 --target "$target" --compile-bytecode --no-deps "$@"; }

cat plugins.in >> requirements-runtime.in
# uv keeps the versions and checksums of a file that is there already.
cp requirements.lock wanted.txt
uv compile --python /usr/bin/python3 --generate-hashes --no-annotate --quiet requirements-runtime.in \
    --output-file wanted.txt
if [ -n "${TORCH_INDEX:-}" ]; then
    grep -oE '^torch(vision)?==[^ ]+' wanted.txt > torch.txt
    awk '/^[a-z]/ { wanted = !/^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z-]+)==/ } wanted' wanted.txt \
        > others.txt
    mv others.txt wanted.txt
    put --index-url "$TORCH_INDEX" --requirement torch.txt
fi
put --require-hashes --requirement wanted.txt
