// The plain model with LibTorch's autograd, whole tensors on one rank, in float64: the oracle of
// every block's values and gradients. Written from the definitions; of the model's code it uses the
// dropout mask (kernels_test.cc compares it with Philox) and, where weights are packed, their
// values (nf4_test.cc compares those with bitsandbytes).
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "model/config/families/llama_shape.h"
#include "model/network/transformer.h"

namespace fttrain {

using NamedTensors = std::map<std::string, at::Tensor>;

// A whole tensor for each parameter of the set, of its global shape: values of about unit variance
// of the layer's output (norm weights around 1), from the name alone, so equal on every rank.
// float64, leaves of autograd.
NamedTensors SeededTensors(const ParameterSet& set);

// What a router made of tokens: probabilities [T, E], and the experts of each, int64 [T, K].
struct OracleRoutes {
  at::Tensor probabilities, experts;
};

struct OracleModel {
  LlamaShape config;
  ModelOptions options;
  NamedTensors params;  // by Hugging Face / PEFT name
  // Where each layer's are put, one layer behind the other; null: nowhere.
  std::vector<OracleRoutes>* routes = nullptr;
};

// x W^T + b + s dropout(x) A^T B^T of module `name`; bias and adapter if their tensors exist.
at::Tensor OracleLinear(const OracleModel& model, const std::string& name, const at::Tensor& x,
                        const DropoutContext& dropout);
at::Tensor OracleDecoderLayer(const OracleModel& model, int index, const at::Tensor& x,
                              const MicrobatchContext& context);
at::Tensor OracleEmbedding(const OracleModel& model, const at::Tensor& input_ids);
// [T, H] of embedding and every layer.
at::Tensor OracleLayers(const OracleModel& model, const ModelBatch& batch);
// [T, V] of final norm and head.
at::Tensor OracleLogits(const OracleModel& model, const at::Tensor& x);
// [M] log-probabilities of the targets.
at::Tensor OracleScores(const OracleModel& model, const at::Tensor& x,
                        const at::Tensor& target_rows, const at::Tensor& targets);
// Sum of token losses of embedding, every layer and head, a scalar.
at::Tensor OracleTransformerLoss(const OracleModel& model, const ModelBatch& batch);

// The routers' loss of a microbatch, a scalar: transformers' load_balancing_loss_func.
at::Tensor OracleRouterLoss(const std::vector<OracleRoutes>& layers);

// value and grad of every parameter, without an optimizer.
void AllocateForTest(ParameterSet& set);
// Every parameter's value from the whole tensors.
void CopyValues(ParameterSet& set, const NamedTensors& params);
// For every packed parameter: quantises the whole tensor into it, and puts the dequantised values
// into `params`, so that the oracle is the plain model over the same weights. Before CopyValues,
// which leaves packed parameters alone.
void QuantizeValues(ParameterSet& set, const Nf4Options& options, NamedTensors& params);
// A deterministic leaf of autograd, equal on every rank.
at::Tensor SeededTensor(std::vector<int64_t> shape, const std::string& name, double scale = 1.0);

// max |got - want| / max |want|; infinite on a shape mismatch.
double RelativeError(const at::Tensor& got, const at::Tensor& want);
// EXPECTs that the gradient of every trainable parameter is its part of the oracle's, and is not
// zero.
void ExpectGradientsNear(const ParameterSet& set, const NamedTensors& params, double rtol);

}  // namespace fttrain
