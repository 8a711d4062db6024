#include "data/formats/tool_calls.h"

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// One call while it is taken apart.
class CallReader {
 public:
  CallReader(const RowObject& turn, const RowJson& call, std::string place)
      : turn_(turn), call_(call), place_(std::move(place)) {}

  absl::StatusOr<RowJson> Read() const {
    if (!call_.is_object()) {
      return Error(absl::StrCat("a call is an object of name and arguments, not ", TypeOf(call_)));
    }
    const auto inner = call_.find("function");
    if (inner != call_.end() && !IsNothing(*inner)) return OpenAi(*inner);
    FT_ASSIGN_OR_RETURN(RowJson function, Function(call_, /*flat=*/true));
    RowJson out = RowJson::object();
    if (const auto id = call_.find("id"); id != call_.end() && !id->is_null()) out["id"] = *id;
    out["type"] = "function";
    out["function"] = std::move(function);
    return out;
  }

 private:
  absl::Status Error(absl::string_view what) const {
    return turn_.Error(absl::StrCat(place_, ": ", what));
  }
  void Unused(const std::string& key) const {
    turn_.context().notes->unused.insert(absl::StrCat("messages[].tool_calls[].", Printable(key)));
  }

  absl::Status CheckType(const RowJson& type) const {
    if (type == "function") return absl::OkStatus();
    return Error(absl::StrCat("'type' is ", Printable(type.dump()),
                              ": only calls of type "
                              "'function' are read"));
  }

  absl::StatusOr<RowJson> OpenAi(const RowJson& inner) const {
    if (!inner.is_object()) {
      return Error(
          absl::StrCat("'function' must be an object of name and arguments, not ", TypeOf(inner)));
    }
    RowJson out = RowJson::object();
    for (const auto& [key, value] : call_.items()) {
      if (IsNothing(value)) continue;
      if (key == "function") {
        FT_ASSIGN_OR_RETURN(out[key], Function(inner, /*flat=*/false));
      } else if (key == "id" || key == "type") {
        if (key == "type") FT_RETURN_IF_ERROR(CheckType(value));
        out[key] = value;
      } else if (key == "name" || key == "arguments") {
        return Error(absl::StrCat(Quoted(key), " stands beside 'function': keep it in there"));
      } else {
        Unused(key);
      }
    }
    return out;
  }

  // {"name", "arguments"} of an object that has them, in its order; `flat`: beside id and type.
  absl::StatusOr<RowJson> Function(const RowJson& object, bool flat) const {
    RowJson out = RowJson::object();
    for (const auto& [key, value] : object.items()) {
      if (key == "name") {
        if (!value.is_string() || IsNothing(value))
          return Error("'name' must be a function's name");
        out[key] = value;
      } else if (key == "arguments") {
        FT_ASSIGN_OR_RETURN(out[key], Arguments(value));
      } else if (IsNothing(value)) {
        continue;
      } else if (flat && key == "type") {
        FT_RETURN_IF_ERROR(CheckType(value));
      } else if (key == "parameters" || key == "args" || key == "input") {
        return Error(absl::StrCat(Quoted(key), ": a call's are 'arguments': rename it"));
      } else if (!flat || key != "id") {
        Unused(key);
      }
    }
    if (!out.contains("name")) return Error("key 'name' is missing: which function is called");
    if (!out.contains("arguments")) out["arguments"] = RowJson::object();
    return out;
  }

  absl::StatusOr<RowJson> Arguments(const RowJson& value) const {
    if (value.is_object()) return value;
    if (IsNothing(value)) return RowJson::object();
    if (!value.is_string()) {
      return Error(absl::StrCat("'arguments' must be an object, or the JSON text of one, not ",
                                TypeOf(value)));
    }
    const absl::StatusOr<RowJson> parsed =
        ParseRowJson(value.get_ref<const std::string&>(), "'arguments'");
    if (!parsed.ok()) return Error(parsed.status().message());
    if (!parsed->is_object()) {
      return Error(
          absl::StrCat("'arguments' must be the JSON text of an object, not of ", TypeOf(*parsed)));
    }
    return *parsed;
  }

  const RowObject& turn_;
  const RowJson& call_;
  std::string place_;
};

}  // namespace

absl::StatusOr<std::vector<jinja::Value>> ReadToolCalls(const RowObject& turn,
                                                        absl::string_view name,
                                                        const RowJson& calls) {
  std::vector<jinja::Value> out;
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string place = absl::StrCat(turn.Key(name), "[", i, "]");
    FT_ASSIGN_OR_RETURN(const RowJson call, CallReader(turn, calls[i], place).Read());
    FT_ASSIGN_OR_RETURN(jinja::Value value, TemplateValue(turn, name, call));
    out.push_back(std::move(value));
  }
  return out;
}

absl::StatusOr<jinja::Value> TemplateValue(const RowObject& object, absl::string_view name,
                                           const RowJson& json) {
  try {
    return jinja::FromJson(json);
  } catch (const jinja::Error& error) {
    return object.Error(absl::StrCat(object.Key(name), ": ", error.message));
  }
}

}  // namespace fttrain
