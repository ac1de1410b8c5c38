pip install "vllm>=0.6"

# Single-GPU launch — Llama 3.1 8B Instruct, fp16, on one A10G or 4090.
vllm serve meta-llama/Llama-3.1-8B-Instruct \
  --host 0.0.0.0 --port 8000 \
  --max-model-len 8192 \
  --gpu-memory-utilization 0.90 \
  --enable-prefix-caching

# Larger model, two GPUs with tensor parallelism — Qwen 2.5 72B AWQ on 2x A100 80GB.
vllm serve Qwen/Qwen2.5-72B-Instruct-AWQ \
  --tensor-parallel-size 2 \
  --quantization awq \
  --max-model-len 32768 \
  --gpu-memory-utilization 0.92 \
  --enable-prefix-caching \
  --enable-chunked-prefill

vllm serve meta-llama/Llama-3.1-70B-Instruct \
  --tensor-parallel-size 2 \
  --enable-auto-tool-choice \
  --tool-call-parser llama3_json

# Llama 3.1 70B as target, 8B as draft.
vllm serve meta-llama/Llama-3.1-70B-Instruct \
  --tensor-parallel-size 4 \
  --speculative-model meta-llama/Llama-3.1-8B-Instruct \
  --num-speculative-tokens 5 \
  --use-v2-block-manager

# Install required packages
# pip install transformers bitsandbytes accelerate

pip install auto-gptq

python -m auto_gptq.convert \
--model_name meta-llama/Llama-2-7b-chat-hf \
--output_dir ./llama2-7b-4bit-gptq \
--wbits 4 \
--group_size 128 \
--quant_type nf4 \
--eval_dataset wikitext \
--use_triton

trtexec --onnx=llama2_7b_4bit.onnx --fp16 --saveEngine=llama2_7b_4bit_fp16.trt

python -m eval lm_eval \
--model_path ./llama2-7b-4bit-gptq \
--tasks wikitext \
--batch_size 8

conda create -n vllm-quant python=3.10 -y
conda activate vllm-quant

pip install "vllm[all]"

python -c "import torch; print(torch.cuda.is_available())"

# Launch vLLM server
python -m vllm.entrypoints.openai.api_server \
--model ./llama2-7b-4bit-gptq \
--dtype bfloat16 \
--quantization bitsandbytes \
--tensor-parallel-size 1 \
--max-num-batched-tokens 8192 \
--port 8000

torchrun --nproc_per_node=4 -m vllm.entrypoints.openai.api_server \
--model ./llama2-7b-4bit-gptq \
--dtype bfloat16 \
--quantization bitsandbytes \
--tensor-parallel-size 4 \
--max-num-batched-tokens 16384 \
--port 8000

export MASTER_ADDR=10.0.0.1 MASTER_PORT=29500

pip install "vllm[bench]"

nvidia-smi
python -c "import vllm; print(vllm.__version__)"

docker run --gpus all --ipc=host -p 8000:8000 \
  -v ~/.cache/huggingface:/root/.cache/huggingface \
  vllm/vllm-openai:latest \
  --model Qwen/Qwen2.5-7B-Instruct

vllm serve Qwen/Qwen2.5-7B-Instruct \
  --max-model-len 8192 \
  --gpu-memory-utilization 0.90 \
  --port 8000

vllm serve meta-llama/Llama-3.3-70B-Instruct \
  --tensor-parallel-size 2 \
  --max-model-len 8192 \
  --gpu-memory-utilization 0.92

curl http://localhost:8000/v1/models

vllm serve Qwen/Qwen2.5-7B-Instruct-AWQ \
  --max-model-len 8192 \
  --gpu-memory-utilization 0.90

vllm serve Qwen/Qwen2.5-7B-Instruct \
  --quantization fp8 \
  --max-model-len 8192

vllm bench serve \
  --model Qwen/Qwen2.5-7B-Instruct \
  --base-url http://localhost:8000 \
  --dataset-name random \
  --num-prompts 200 \
  --max-concurrency 32

pip install vllm

# Single GPU — 8B model
vllm serve meta-llama/Llama-3-8B-Instruct \
    --dtype bfloat16 \
    --max-model-len 8192 \
    --gpu-memory-utilization 0.9 \
    --enable-prefix-caching \
    --port 8000

# Multi-GPU tensor parallelism — 70B model
vllm serve meta-llama/Llama-3-70B-Instruct \
    --tensor-parallel-size 4 \
    --dtype bfloat16 \
    --quantization awq \
    --gpu-memory-utilization 0.9 \
    --port 8000

# First quantize (one-time, ~10 min for 8B)
pip install autoawq
python -c "
from awq import AutoAWQForCausalLM
from transformers import AutoTokenizer

model = AutoAWQForCausalLM.from_pretrained('meta-llama/Llama-3-8B-Instruct')
tokenizer = AutoTokenizer.from_pretrained('meta-llama/Llama-3-8B-Instruct')
quant_config = {'zero_point': True, 'q_group_size': 128, 'w_bit': 4, 'version': 'GEMM'}
model.quantize(tokenizer, quant_config=quant_config)
model.save_quantized('llama3-8b-awq')
"

# Serve quantized model (~5 GB VRAM instead of ~16 GB)
vllm serve ./llama3-8b-awq --quantization awq --dtype float16

docker run --gpus all \
  -p 8000:8000 \
  -v ~/.cache/huggingface:/root/.cache/huggingface \
  vllm/vllm-openai:latest \
  --model meta-llama/Llama-3-8B-Instruct \
  --gpu-memory-utilization 0.9 \
  --enable-prefix-caching

# Enable guided decoding
vllm serve meta-llama/Llama-3-8B-Instruct --guided-decoding-backend outlines

vllm serve ... --enable-metrics --metrics-port 9090

vllm serve meta-llama/Llama-3-70B-Instruct \
    --speculative-model meta-llama/Llama-3-8B-Instruct \
    --num-speculative-tokens 5 \
    --tensor-parallel-size 4
