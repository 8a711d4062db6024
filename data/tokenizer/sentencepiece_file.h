// tokenizer.model: the protobuf message that sentencepiece writes (sentencepiece_model.proto), as
// far as encoding and decoding ask for it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace fttrain {

struct SentencePieceFile {
  enum Type { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  struct Entry {
    std::string text;
    float score = 0;
    int type = kNormal;
  };
  enum Model { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };

  std::vector<Entry> pieces;  // by id
  int model = kUnigram;
  bool byte_fallback = false, space_as_suffix = false;
  int unk = -1;          // the id of the one piece of that type
  int bos = 1, eos = 2;  // -1: none
  std::string charsmap;  // precompiled; empty: none
  bool dummy_prefix = true, remove_extra_spaces = true, escape_spaces = true;

  // InvalidArgument "NAME: ..." for what is no such message, and for what cannot be honoured: model
  // types other than BPE and Unigram, unused pieces in a BPE model, byte pieces that are not all
  // there, equal pieces, scores that are no number, a denormalizer.
  static absl::StatusOr<SentencePieceFile> Parse(std::string_view bytes, const std::string& name);
};

}  // namespace fttrain
