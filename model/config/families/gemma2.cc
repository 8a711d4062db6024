// Gemma 2: norms before and behind both blocks with weights of 1 + w, GeGLU, scores and logits with
// soft caps, a window in every other layer, embeddings scaled by the root of their width.
#include "model/config/families/families.h"
#include "model/config/families/gemma_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {

ModelSpec ReadGemma2(JsonKeys& keys) {
  LlamaShape shape = ReadGemmaShape(keys);
  shape.attention_soft_cap = PositiveOrNone(keys, "attn_logit_softcapping", 50.0);
  shape.logit_soft_cap = PositiveOrNone(keys, "final_logit_softcapping", 30.0);
  ReadWindowPattern(keys, SlidingWindow(keys), /*period=*/2, shape);
  ReadRope(keys, shape);
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {1});
  return model;
}

}  // namespace fttrain
