// A model as data: which blocks each layer has, which matrices they have, and how tensor
// parallelism may cut them. A family's file (families/) makes it from config.json; everything else
// (tensors, parameters, checks, costs, the network itself) is read off it. No tensors here.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "model/config/rope.h"

namespace fttrain {

// RMSNorm with a weight `name`.weight [size].
struct NormSpec {
  std::string name;
  int64_t size = 0;
  double eps = 1e-6;
  bool per_head = false;  // over each head: a tensor-parallel rank sees its own heads only
};

// Which dimension tensor parallelism splits: out [out/tp, in], or in [out, in/tp].
enum class LinearSplit { kColumn, kRow };

// `name`.weight [out, in], and `name`.bias [out].
struct LinearSpec {
  std::string name;  // Hugging Face path of the module: model.layers.0.self_attn.q_proj
  int64_t in = 0, out = 0;
  LinearSplit split = LinearSplit::kColumn;
  int64_t unit = 1;  // slices are whole units of the split dimension: a head
  bool bias = false;
  // Fewer units than ranks: several ranks hold the same one (kv heads). Else the ranks divide them.
  bool may_share = false;

  int64_t units() const { return (split == LinearSplit::kColumn ? out : in) / unit; }
};

// Causal attention with grouped queries. Norms of q and k are over each head, before rotary.
struct AttentionSpec {
  LinearSpec q, k, v, o;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;  // kv_heads divides heads
  std::optional<NormSpec> q_norm, k_norm;         // both or none
  double scale = 1.0;                             // of the scores
  int64_t window = 0;                             // tokens seen, incl. the token itself; 0: all
};

// down(silu(gate x) * up x).
struct MlpSpec {
  LinearSpec gate, up, down;
};

// x += body(before(x)).
struct BlockSpec {
  NormSpec before;
  std::variant<AttentionSpec, MlpSpec> body;
};
using LayerSpec = std::vector<BlockSpec>;

// Final norm and output projection; tied: `name` is the embedding's module.
struct HeadSpec {
  NormSpec norm;
  std::string name;
  bool tied = false;
};

struct ModelSpec {
  std::string family;  // as in "model_type"
  int64_t hidden_size = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  RopeSpec rope;
  std::string embedding;  // module; its table is [vocab_size, hidden_size]
  std::vector<LayerSpec> layers;
  HeadSpec head;
  bool quantized = false;  // quantization_config: matrices are stored as NF4 (nf4_folder.h)
  std::vector<int64_t> eos_token_ids;  // may be empty
  std::vector<std::string> notes;      // what users should know of the config, a line each
  int64_t num_layers() const { return static_cast<int64_t>(layers.size()); }
};

// A block's linears, those together that read one input, and a layer's, in the order of files.
std::vector<std::vector<LinearSpec>> LinearsByInput(const BlockSpec& block);
std::vector<LinearSpec> LinearsOf(const LayerSpec& layer);
// Calls one of both for each part of a block that has tensors, in the order of files.
void ForEachPart(const BlockSpec& block, const std::function<void(const NormSpec&)>& norm,
                 const std::function<void(const LinearSpec&)>& linear);
// q_proj of model.layers.0.self_attn.q_proj.
std::string LeafName(const std::string& module);

// One tensor of the model, by its Hugging Face name and global shape.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
  std::string module = {};  // of a linear's matrix (a head of its own is one): may be NF4; else ""
};
// Every weight of the model, in file order: embedding, layers, final norm, head (absent when tied).
std::vector<TensorSpec> ModelTensors(const ModelSpec& model);
// The matrices of linears among them.
std::vector<TensorSpec> LinearMatrices(const ModelSpec& model);

// "llama, 32 layers, hidden 4096, heads 32/8, vocabulary 128256".
std::string ToString(const ModelSpec& model);

}  // namespace fttrain
