// Phi-3, Phi-3.5, Phi-4: Llama with q, k and v in one matrix, gate and up in another; longrope, of
// a part of each head in Phi-4-mini.
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {

ModelSpec ReadPhi3(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {.eps = 1e-5});
  RefuseBias(keys, "attention_bias", "phi3");
  RefuseBias(keys, "mlp_bias", "phi3");
  if (const auto* dropout = keys.Find("resid_pdrop"); dropout != nullptr && *dropout != 0) {
    keys.Fail("resid_pdrop",
              absl::StrCat("is ", Printable(dropout->dump()), ", only 0 is supported"));
  }
  shape.fused_qkv = shape.fused_gate_up = true;
  ReadOneWindow(keys, SlidingWindowIfAny(keys), shape);
  ReadRope(keys, shape, {.partial = true, .longrope = true, .original_context = 4096});
  if (shape.rope.has_long_form()) {
    shape.notes.push_back(
        absl::StrCat(keys.where(), ": longrope: a document of more than ",
                     shape.rope.original_max_position_embeddings,
                     " tokens turns all of its microbatch by long_factor, as transformers does"));
  }
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {32000});
  return model;
}

}  // namespace fttrain
