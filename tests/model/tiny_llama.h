// A small model with every shape trap: grouped heads (2 kv heads, fewer than 4 tp ranks), a
// head_dim that is not hidden / heads, a vocabulary that neither 2 nor 4 ranks divide.
#pragma once

#include "model/config/families/llama_shape.h"

namespace fttrain {

inline LlamaShape TinyLlama(int layers = 2) {
  return {.hidden_size = 32,
          .intermediate_size = 48,
          .num_layers = layers,
          .num_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 10,
          .vocab_size = 37,
          .max_position_embeddings = 64,
          .rms_norm_eps = 1e-5};
}

}  // namespace fttrain
