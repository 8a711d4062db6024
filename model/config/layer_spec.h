// A decoder layer as data: its blocks, and their matrices and norms. No tensors here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "model/config/forms.h"

namespace fttrain {

// What a norm is over, and so what a tensor-parallel rank sees of it.
enum class NormOver {
  kStream,    // the residual stream's rows: whole
  kHead,      // each head: the rank's own heads
  kAllHeads,  // all heads together: the rank's own, so ranks sum squares; the weight is split
  kLatent,    // what heads are made from: whole, of which a rank has its own heads' gradient
};

// A norm with a weight `name`.weight [size].
struct NormSpec {
  std::string name;
  int64_t size = 0;
  NormForm form;
  NormOver over = NormOver::kStream;
  // kAllHeads: split as the linear whose output it norms (LinearSpec).
  int64_t unit = 1;
  bool may_share = false;
};

// A vector `name` [size] that is read and never trained: whole on every rank, in files and here in
// float32 (float64 in float64 compute) whatever the model is in.
struct ConstantSpec {
  std::string name;
  int64_t size = 0;
};

// Which dimension tensor parallelism splits: out [out/tp, in], or in [out, in/tp]; or neither, and
// every rank has the whole, whose gradient it computes a part of.
enum class LinearSplit { kColumn, kRow, kWhole };

// What a linear is to the model; decides what may be done to it.
enum class LinearRole {
  kPlain,   // every token passes it; may have an adapter, may be NF4
  kRouter,  // says which experts a token passes; computes in float32, never NF4
  // Some tokens pass it. May be NF4. No module to PEFT, which knows a layer's experts as one
  // parameter.
  kExpert,
};

// `name`.weight [out, in], and `name`.bias [out].
struct LinearSpec {
  // Hugging Face path of the module: model.layers.0.self_attn.q_proj. Of a part the module's and
  // which rows.
  std::string name;
  int64_t in = 0, out = 0;
  LinearSplit split = LinearSplit::kColumn;
  int64_t unit = 1;  // slices are whole units of the split dimension: a head
  bool bias = false;
  // Fewer units than ranks: several ranks hold the same one (kv heads). Else the ranks divide them.
  bool may_share = false;
  // Rows [offset, offset + out) of a module of `rows`, as of a fused q, k and v: files have one
  // tensor, adapters one pair of factors, the first of which all parts read. Column split.
  struct Part {
    std::string module;
    int64_t rows = 0, offset = 0;
  };
  std::optional<Part> part = {};
  // One of several of a shape that transformers has in one parameter, which adapters know by its
  // name: of [count] matrices of `columns` outputs the one at `index`, output o of this linear at
  // first + o * step.
  struct Stack {
    std::string tensor;
    int64_t index = 0, count = 1;
    int64_t first = 0, step = 1, columns = 0;
    // Files have it so too, as TENSOR [count, in, columns], and their biases as TENSOR_bias [count,
    // columns]. Else each is a linear of its own there.
    bool in_files = false;
  };
  std::optional<Stack> stack = {};
  LinearRole role = LinearRole::kPlain;
  double token_share = 1.0;  // of a microbatch's tokens, those that pass it, on average
  // Its weight is in float32 (float64 in float64 compute), here and in files that are written of a
  // narrower dtype.
  bool float32 = false;

  // What files, adapters and quantisation know it by.
  const std::string& module() const {
    return stacked_in_files() ? stack->tensor : part ? part->module : name;
  }
  bool stacked_in_files() const { return stack && stack->in_files; }
  // Whether it is its module, or stands for it: the first part, the first of a stack.
  bool stands_for_module() const {
    if (stacked_in_files()) return stack->index == 0 && stack->first == 0;
    return !part || part->offset == 0;
  }
  bool splits_input() const { return split == LinearSplit::kRow; }
  int64_t units() const { return (splits_input() ? in : out) / unit; }
};

// Causal attention with grouped queries. Norms of q and k come before rotary.
struct AttentionSpec {
  LinearSpec q, k, v, o;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;  // kv_heads divides heads
  std::optional<NormSpec> q_norm, k_norm;         // both or none
  double scale = 1.0;                             // of the scores
  double soft_cap = 0;                            // then cap tanh(score / cap); 0: none
  int64_t window = 0;                             // tokens seen, incl. the token itself; 0: all
  // A tensor [heads] of trained scores that join each query's softmax, whose share is thrown away:
  // attention sinks (Xiao et al., arXiv:2309.17453; Agarwal et al., arXiv:2508.10925). Empty: none.
  std::string sinks = {};
  int rope = 0;  // which of ModelSpec::ropes turns q and k; below 0: none
};

// Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, sec. 2.1). Of x come a latent, from
// which, normed, each head has its key's first part and its value, and a key part that turns, one
// for all heads; queries likewise come from a latent of their own, or from x. A head's q and k are
// [nope_dim | rope_dim], of which the last turn; its value has v_dim.
struct LatentAttentionSpec {
  std::optional<LinearSpec> q_a;   // [q's latent, H]; whole on every rank
  std::optional<NormSpec> q_norm;  // of that, if it is there
  LinearSpec q;                    // [N (nope + rope), q's latent, or H], head by head
  LinearSpec kv_a;                 // [latent + rope, H]; whole on every rank
  NormSpec kv_norm;                // of the latent
  LinearSpec kv_b;                 // [N (nope + v), latent], head by head
  LinearSpec o;                    // [H, N v]
  int64_t heads = 0, nope_dim = 0, rope_dim = 0, v_dim = 0;
  double scale = 1.0;  // of the scores
  int rope = 0;        // as AttentionSpec's
  int64_t qk_dim() const { return nope_dim + rope_dim; }
};

// down(activation(gate x) * up x).
struct MlpSpec {
  LinearSpec gate, up, down;
  GluForm activation = {};
};

// A mixture of experts (Shazeer et al., arXiv:1701.06538): of each token the sum of what the top_k
// experts make that its router scores highest, each times its score (softmax of all, or sigmoid).
// Nothing has a capacity: every token has its top_k.
struct MoeSpec {
  LinearSpec router;  // [experts, H]
  int64_t top_k = 1;
  // A token's scores are divided by their sum. That is a softmax over the chosen ones alone.
  bool renormalize = false;
  bool sigmoid = false;  // a score is the sigmoid of its own logit
  double scale = 1.0;    // of what comes of the scores
  // Added to scores for the choice alone (arXiv:2408.15664). [experts]
  std::optional<ConstantSpec> correction = {};
  // Experts in `groups` equal runs: chosen are those of the top_groups whose group_best best
  // (corrected) scores sum highest.
  int64_t groups = 1, top_groups = 1, group_best = 1;
  // Of one shape; of a rank's part (PartOfExperts) the rank's, and how many are before and behind.
  std::vector<MlpSpec> experts;
  int64_t before = 0, behind = 0;
  int64_t num_experts() const { return before + static_cast<int64_t>(experts.size()) + behind; }
};

// x += residual_scale * after(body(before(x))), without the norms that are not there.
struct BlockSpec {
  std::optional<NormSpec> before;
  std::variant<AttentionSpec, MlpSpec, MoeSpec, LatentAttentionSpec> body;
  std::optional<NormSpec> after = {};
  // Reads what the block before it reads, norm included, not what that one has made of it.
  bool beside = false;
  double residual_scale = 1.0;
};
using LayerSpec = std::vector<BlockSpec>;

}  // namespace fttrain
