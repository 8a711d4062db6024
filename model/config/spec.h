// A model as data: which blocks each layer has, which matrices they have, and how tensor
// parallelism may cut them. A family's file (families/) makes it from config.json; everything else
// (tensors, parameters, checks, costs, the network itself) is read off it. No tensors here.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/config/layers.h"
#include "model/config/rope.h"

namespace fttrain {

// Final norm and output projection; tied: `name` is the embedding's module.
struct HeadSpec {
  NormSpec norm;
  std::string name;
  bool tied = false;
  double logit_scale = 1.0;
  double soft_cap = 0;  // then cap tanh(logit / cap); 0: none
};

struct ModelSpec {
  std::string family;  // as in "model_type"
  int64_t hidden_size = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  std::vector<RopeSpec> ropes;  // by AttentionSpec::rope
  std::string embedding;        // module; its table is [vocab_size, hidden_size]
  // What a row of it is multiplied by; in the dtype of computation first, if it is rounded.
  double embedding_scale = 1.0;
  bool rounds_embedding_scale = false;
  Layers layers;
  HeadSpec head;
  // Of a model with experts whose routers transformers has a loss for (blocks/router_balance.h):
  // the coefficient that config.json asks for, 0 where it asks for none.
  std::optional<double> router_loss;
  bool quantized = false;  // quantization_config: matrices are stored as NF4 (nf4_folder.h)
  bool mxfp4 = false;      // the same: stacked experts are stored as MXFP4 (mxfp4_folder.h)
  std::vector<int64_t> eos_token_ids;  // may be empty
  std::vector<std::string> notes;      // what users should know of the config, a line each
  // Tensors of files that begin so are no part of this model, and are left there.
  std::vector<std::string> unread_prefixes;
  int64_t num_layers() const { return static_cast<int64_t>(layers.size()); }
};

// A block's linears, those together that read one input, and a layer's, in the order of files.
std::vector<std::vector<LinearSpec>> LinearsByInput(const BlockSpec& block);
std::vector<LinearSpec> LinearsOf(const LayerSpec& layer);
// The same as files and adapters know them: parts of one module are one.
std::vector<LinearSpec> ModulesOf(const LayerSpec& layer);
// Of the residual stream that a block reads and adds to.
int64_t StreamWidth(const BlockSpec& block);
// Calls one of them for each part of a block that has tensors, in the order of files; `linear`,
// `constant` and `sinks`, of an attention that has them, if they are given.
void ForEachPart(const BlockSpec& block, const std::function<void(const NormSpec&)>& norm,
                 const std::function<void(const LinearSpec&)>& linear,
                 const std::function<void(const ConstantSpec&)>& constant = {},
                 const std::function<void(const AttentionSpec&)>& sinks = {});
// q_proj of model.layers.0.self_attn.q_proj.
std::string LeafName(const std::string& module);

// One tensor of the model, by its Hugging Face name and global shape.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
  // Of a linear's matrix (a head of its own is one); else "". A stack of them is none.
  std::string module = {};
  LinearRole role = LinearRole::kPlain;
  bool constant = false;  // ConstantSpec: float32 in files of any dtype
  bool float32 = false;   // LinearSpec's: float32 in files of a narrower dtype
};
// Every weight of the model, in file order: embedding, layers, final norm, head (absent when tied).
std::vector<TensorSpec> ModelTensors(const ModelSpec& model);
// The matrices of linears among them that may be NF4.
std::vector<TensorSpec> LinearMatrices(const ModelSpec& model);

// What one of `size` ranks that divide the experts of each layer has of a layer, or a model: of E
// experts [rank E / size, (rank + 1) E / size), and all else. CheckExpertParallel (checks.h)
// refuses what does not divide.
LayerSpec PartOfExperts(LayerSpec layer, int rank, int size);
ModelSpec PartOfExperts(ModelSpec model, int rank, int size);

// Whether a layer has experts.
bool HasExperts(const ModelSpec& model);
// Whether files have the experts of a layer together (LinearSpec::Stack).
bool HasStackedExperts(const ModelSpec& model);

// "llama, 32 layers, hidden 4096, heads 32/8, vocabulary 128256".
std::string ToString(const ModelSpec& model);

}  // namespace fttrain
