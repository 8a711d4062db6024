#include "model/config/families/rope_keys.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "absl/algorithm/container.h"

namespace fttrain {
namespace {

using Json = JsonKeys::Json;

// shape.rotary_dim of partial_rotary_factor.
void ReadPartialRotary(JsonKeys& keys, const RopeRules& rules, LlamaShape& shape) {
  const char* key = "partial_rotary_factor";
  const bool given = keys.Find(key) != nullptr;
  if (!rules.partial) {
    if (given && keys.Positive(key) != 1.0) keys.Fail(key, "other than 1 is not supported");
    return;
  }
  if (!given && shape.rotary_dim > 0) return;  // said elsewhere
  const double factor = keys.Positive(key, rules.partial_absent);
  shape.rotary_dim = static_cast<int64_t>(static_cast<double>(shape.head_dim) * factor);
  if (factor <= 1 && shape.rotary_dim >= 2 && shape.rotary_dim % 2 == 0) return;
  keys.Fail(key, absl::StrCat("is ", factor, ": of heads of ", shape.head_dim, " that turns ",
                              shape.rotary_dim, " elements, which must be even, and all at most"));
  shape.rotary_dim = shape.head_dim;
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
  // `outside`: the config's own keys. Notes go to the shape's.
  RopeReader(JsonKeys& outside, const Json& object, const std::string& where,
             const RopeRules& rules, LlamaShape& shape)
      : outside_(outside),
        object_(object),
        keys_(object, absl::StrCat(outside.where(), ": ", where)),
        max_positions_(shape.max_position_embeddings),
        rules_(rules),
        shape_(shape),
        notes_(shape.notes) {}

  RopeSpec Read(RopeSpec rope) {
    rope.theta = keys_.Positive("rope_theta", rope.theta);
    const std::string type = Type();
    ReadPartialRotary(keys_, rules_, shape_);
    if (rules_.longrope) {
      if (type == "longrope" || type == "su" || type == "yarn") {
        ReadLongrope(rope);
      } else if (type != "default") {
        RefuseType(type, "default, longrope");
      }
    } else if (type == "linear") {
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
      RefuseType(type, "default, linear, dynamic, llama3, yarn");
    }
    if (rules_.scales_scores && type != "default") ReadScoreFactor(rope);
    NoteUnread(type);
    outside_.Adopt(keys_.status());
    return rope;
  }

 private:
  void RefuseType(const std::string& type, const char* known) {
    keys_.Fail(type_key_,
               absl::StrCat("'", Printable(type), "' is not supported (", known, " are)"));
  }

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
    if (!outside_.Find(key) && rules_.original_context > 0) return rules_.original_context;
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

  // One number for each pair.
  std::vector<double> PairFactors(const char* key) {
    read_.insert(key);
    const int64_t dim = shape_.rotary_dim > 0 ? shape_.rotary_dim : shape_.head_dim;
    const Json* list = keys_.Find(key);
    const bool numbers =
        list != nullptr && list->is_array() && absl::c_all_of(*list, [](const Json& each) {
          return each.is_number() && each.get<double>() > 0;
        });
    if (numbers && static_cast<int64_t>(list->size()) == dim / 2) {
      return list->get<std::vector<double>>();
    }
    keys_.Fail(key, absl::StrCat("must list ", dim / 2, " positive numbers, one for each pair of ",
                                 dim, " elements that turn"));
    return std::vector<double>(static_cast<size_t>(dim / 2), 1.0);
  }

  void ReadLongrope(RopeSpec& rope) {
    rope.type = RopeType::kLongrope;
    rope.original_max_position_embeddings = OriginalContext();
    rope.short_factors = PairFactors("short_factor");
    rope.long_factors = PairFactors("long_factor");
    const auto context = static_cast<double>(rope.original_max_position_embeddings);
    read_.insert({"factor", "attention_factor"});
    const double factor = keys_.Positive("factor", static_cast<double>(max_positions_) / context);
    const double grown =
        factor <= 1 || context <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(context));
    rope.attention_factor = keys_.Positive("attention_factor", grown);
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
    const auto scale = [&](double m) { return YarnScale(factor, m); };
    return mscale > 0 && all_dim > 0 ? scale(mscale) / scale(all_dim) : scale(1.0);
  }

  static double YarnScale(double factor, double m) {
    return factor <= 1 ? 1.0 : 0.1 * m * std::log(factor) + 1;
  }

  // yarn_apply_mscale of transformers' DeepseekV2Attention.
  void ReadScoreFactor(RopeSpec& rope) {
    read_.insert("mscale_all_dim");
    const double all_dim = NumberOrZero(keys_, "mscale_all_dim");
    if (all_dim == 0) return;
    const double scale = YarnScale(keys_.Positive("factor"), all_dim);
    rope.score_factor = scale * scale;
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
  const RopeRules& rules_;
  LlamaShape& shape_;
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
                         const RopeSpec& absent, const RopeRules& rules, LlamaShape& shape) {
  std::optional<RopeSpec> first;
  for (const std::string& type : LayerTypes(shape)) {
    const auto settings = object.find(type);
    if (settings == object.end() || !settings->is_object()) {
      keys.Fail(where, absl::StrCat("has no settings for the model's ", type, " layers"));
      return absent;
    }
    const RopeSpec rope =
        ReadRopeSettings(keys, *settings, absl::StrCat(where, ".", type), absent, shape, rules);
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

RopeSpec ReadRopeSettings(JsonKeys& keys, const Json& object, const std::string& where,
                          const RopeSpec& absent, LlamaShape& shape, const RopeRules& rules) {
  return RopeReader(keys, object, where, rules, shape).Read(absent);
}

void ReadRope(JsonKeys& keys, LlamaShape& shape, const RopeRules& rules) {
  ReadPartialRotary(keys, rules, shape);
  RopeSpec absent;
  absent.theta = keys.Positive("rope_theta", rules.theta);
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
      rope = ReadByLayerType(keys, *object, where, absent, rules, shape);
    } else {
      rope = ReadRopeSettings(keys, *object, where, absent, shape, rules);
    }
    if (found && *found != rope) keys.Fail("rope_parameters", "contradicts 'rope_scaling'");
    found = rope;
  }
  if (!found && rules.absent) {
    const double theta = absent.theta;
    absent = *rules.absent;
    absent.theta = theta;
  }
  shape.rope = found.value_or(absent);
}

}  // namespace fttrain
