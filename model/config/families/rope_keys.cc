#include "model/config/families/rope_keys.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "absl/algorithm/container.h"

namespace fttrain {
namespace {

using Json = JsonKeys::Json;

void RefusePartialRotary(JsonKeys& keys) {
  if (keys.Find("partial_rotary_factor") && keys.Positive("partial_rotary_factor") != 1.0) {
    keys.Fail("partial_rotary_factor", "other than 1 is not supported");
  }
}

// A number that counts only if it is not 0, as transformers takes several; 0 if it is not there.
double NumberOrZero(JsonKeys& keys, const char* key) {
  const Json* value = keys.Find(key);
  const bool is_zero = value != nullptr && value->is_number() && value->get<double>() == 0;
  return value == nullptr || is_zero ? 0.0 : keys.Positive(key);
}

// The keys of one object: rope_scaling, rope_parameters, or a layer type's in one of them.
class RopeReader {
 public:
  // `outside`: the config's own keys. Notes go to `notes`.
  RopeReader(JsonKeys& outside, const Json& object, const std::string& where, int64_t max_positions,
             std::vector<std::string>& notes)
      : outside_(outside),
        object_(object),
        keys_(object, absl::StrCat(outside.where(), ": ", where)),
        max_positions_(max_positions),
        notes_(notes) {}

  RopeSpec Read(RopeSpec rope) {
    rope.theta = keys_.Positive("rope_theta", rope.theta);
    const std::string type = Type();
    if (type == "linear") {
      ReadLinear(rope);
    } else if (type == "dynamic") {
      // Frequencies change for positions beyond max_position_embeddings alone, which rows never
      // have (CheckPositions).
      Factor();
    } else if (type == "llama3") {
      ReadLlama3(rope);
    } else if (type == "yarn") {
      ReadYarn(rope);
    } else if (type != "default") {
      keys_.Fail(type_key_,
                 absl::StrCat("'", Printable(type),
                              "' is not supported (default, linear, dynamic, llama3, yarn are)"));
    }
    RefusePartialRotary(keys_);
    NoteUnread(type);
    outside_.Adopt(keys_.status());
    return rope;
  }

 private:
  std::string Type() {
    type_key_ = keys_.Find("rope_type") || !keys_.Find("type") ? "rope_type" : "type";
    return keys_.Text(type_key_, "default");
  }

  double Factor() {
    read_.insert("factor");
    return keys_.Positive("factor");
  }

  // transformers prefers the one outside.
  int64_t OriginalContext() {
    const char* key = "original_max_position_embeddings";
    const int64_t inside = keys_.Int(key, 1, max_positions_);
    if (!outside_.Find(key)) {
      read_.insert(key);
      return inside;
    }
    const int64_t context = outside_.Int(key, 1);
    if (context == inside) read_.insert(key);
    return context;
  }

  void ReadLinear(RopeSpec& rope) {
    rope.type = RopeType::kLinear;
    rope.factor = Factor();
  }

  void ReadLlama3(RopeSpec& rope) {
    rope.type = RopeType::kLlama3;
    rope.factor = Factor();
    rope.low_freq_factor = keys_.Positive("low_freq_factor");
    rope.high_freq_factor = keys_.Positive("high_freq_factor");
    rope.original_max_position_embeddings = OriginalContext();
    read_.insert({"low_freq_factor", "high_freq_factor"});
    if (rope.high_freq_factor <= rope.low_freq_factor) {
      keys_.Fail("high_freq_factor", "must exceed 'low_freq_factor'");
    }
  }

  void ReadYarn(RopeSpec& rope) {
    rope.type = RopeType::kYarn;
    rope.original_max_position_embeddings = OriginalContext();
    // A null stands for the quotient of the contexts.
    const bool is_null = keys_.Contains("factor") && !keys_.Find("factor");
    read_.insert("factor");
    rope.factor = is_null ? static_cast<double>(max_positions_) /
                                static_cast<double>(rope.original_max_position_embeddings)
                          : Factor();
    const double fast = NumberOrZero(keys_, "beta_fast"), slow = NumberOrZero(keys_, "beta_slow");
    if (fast > 0) rope.beta_fast = fast;
    if (slow > 0) rope.beta_slow = slow;
    // Without the key true, but null is not.
    rope.truncate = keys_.Bool("truncate", !keys_.Contains("truncate"));
    rope.attention_factor = keys_.Positive("attention_factor", YarnAttentionFactor(rope.factor));
    read_.insert(
        {"beta_fast", "beta_slow", "truncate", "attention_factor", "mscale", "mscale_all_dim"});
    if (rope.theta <= 1) keys_.Fail("rope_theta", "must exceed 1 with yarn");
    if (rope.beta_fast < rope.beta_slow) keys_.Fail("beta_fast", "must not be below 'beta_slow'");
  }

  // What cos and sin are multiplied by where the config does not say it itself.
  double YarnAttentionFactor(double factor) {
    const double mscale = NumberOrZero(keys_, "mscale");
    const double all_dim = NumberOrZero(keys_, "mscale_all_dim");
    const auto scale = [&](double m) { return factor <= 1 ? 1.0 : 0.1 * m * std::log(factor) + 1; };
    return mscale > 0 && all_dim > 0 ? scale(mscale) / scale(all_dim) : scale(1.0);
  }

  void NoteUnread(const std::string& type) {
    read_.insert({type_key_, "rope_theta", "partial_rotary_factor"});
    const Json* other = keys_.Find("type");
    if (other != nullptr && *other == type) read_.insert("type");
    for (const auto& [key, value] : object_.items()) {
      if (value.is_null() || read_.contains(key)) continue;
      notes_.push_back(absl::StrCat(keys_.where(), ": '", Printable(key),
                                    "' is not read with rope_type ", Printable(type),
                                    ", nor by transformers"));
    }
  }

  JsonKeys& outside_;
  const Json& object_;
  JsonKeys keys_;
  int64_t max_positions_;
  std::vector<std::string>& notes_;
  const char* type_key_ = "rope_type";
  std::set<std::string, std::less<>> read_;
};

// The types of the model's layers, each once.
std::vector<std::string> LayerTypes(const LlamaShape& shape) {
  const auto windowed = [](int64_t window) { return window > 0; };
  const int64_t windows = absl::c_count_if(shape.layer_windows, windowed);
  std::vector<std::string> types;
  if (windows < shape.num_layers) types.push_back("full_attention");
  if (windows > 0) types.push_back("sliding_attention");
  return types;
}

// {"full_attention": {...}, "sliding_attention": {...}}
RopeSpec ReadByLayerType(JsonKeys& keys, const Json& object, const std::string& where,
                         const RopeSpec& absent, LlamaShape& shape) {
  std::optional<RopeSpec> first;
  for (const std::string& type : LayerTypes(shape)) {
    const auto settings = object.find(type);
    if (settings == object.end() || !settings->is_object()) {
      keys.Fail(where, absl::StrCat("has no settings for the model's ", type, " layers"));
      return absent;
    }
    RopeReader reader(keys, *settings, absl::StrCat(where, ".", type),
                      shape.max_position_embeddings, shape.notes);
    const RopeSpec rope = reader.Read(absent);
    if (!first) first = rope;
    if (rope == *first) continue;
    keys.Fail(where,
              "differs between full_attention and sliding_attention layers: one rotary "
              "embedding for all of them is supported");
  }
  for (const auto& [key, value] : object.items()) {
    if (value.is_object() || value.is_null()) continue;
    shape.notes.push_back(absl::StrCat(keys.where(), ": ", where, ": '", Printable(key),
                                       "' beside settings by layer type is not read"));
  }
  return first.value_or(absent);
}

}  // namespace

void ReadRope(JsonKeys& keys, LlamaShape& shape) {
  RefusePartialRotary(keys);
  RopeSpec absent;
  absent.theta = keys.Positive("rope_theta", absent.theta);
  std::optional<RopeSpec> found;
  // Version 5 has all in rope_parameters; version 4 theta beside, and the rest in rope_scaling.
  for (const char* where : {"rope_scaling", "rope_parameters"}) {
    const Json* object = keys.Find(where);
    if (object == nullptr || *object == Json::object()) continue;
    if (!object->is_object()) return keys.Fail(where, "must be an object");
    const bool nested =
        absl::c_any_of(*object, [](const Json& value) { return value.is_object(); }) ||
        object->contains("full_attention");
    RopeSpec rope;
    if (nested) {
      rope = ReadByLayerType(keys, *object, where, absent, shape);
    } else {
      rope =
          RopeReader(keys, *object, where, shape.max_position_embeddings, shape.notes).Read(absent);
    }
    if (found && *found != rope) keys.Fail("rope_parameters", "contradicts 'rope_scaling'");
    found = rope;
  }
  shape.rope = found.value_or(absent);
}

}  // namespace fttrain
