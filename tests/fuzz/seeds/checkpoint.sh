#!/bin/sh
# Writes the file in checkpoint/: what the smallest run there is saves.
cd "$(dirname "$0")" || exit
run=$(mktemp -d)
cargo run --release -- train --out "$run" --set data.generated_images=8 --set data.image_size=8 \
    --set encoder.width=1 --set encoder.dim=2 --set method.queue=4 --set method.clusters='[2]' \
    --set method.negatives=2 --set method.warmup_epochs=0 --set optim.batch=4 --set optim.epochs=1 \
    --set optim.lr=0.001 --set eval.knn_every=0
mkdir -p checkpoint
mv "$run"/checkpoints/*.safetensors checkpoint/tiny.safetensors
rm -r "$run"
