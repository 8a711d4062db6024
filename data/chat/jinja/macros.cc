#include <algorithm>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/capture.h"
#include "data/chat/jinja/evaluator.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {

void Evaluator::BindMacro(const MacroNode& node, Arguments& args, Activation* frame) {
  const size_t count = node.parameters.size();
  const auto put = [&](int slot, Value value) {
    frame->slots[static_cast<size_t>(slot)] = std::move(value);
  };
  const auto take = [&](const std::string& name) -> std::optional<Value> {
    const auto found = std::find_if(args.named.begin(), args.named.end(),
                                    [&](const auto& named) { return named.first == name; });
    if (found == args.named.end()) return std::nullopt;
    Value value = found->second;
    args.named.erase(found);
    return value;
  };
  bool found_caller = args.positional.size() >= count && node.explicit_caller;
  for (size_t i = 0; i < count; ++i) {
    if (i < args.positional.size()) {
      put(node.parameter_slots[i], args.positional[i]);
      continue;
    }
    if (std::optional<Value> value = take(node.parameters[i])) {
      put(node.parameter_slots[i], *std::move(value));
    }
    found_caller = found_caller || node.parameters[i] == "caller";
  }
  if (node.takes_caller && !found_caller) {
    const std::optional<Value> caller = take("caller");
    const bool none = !caller.has_value() || caller->Is(Kind::kNone);
    if (node.caller_slot >= 0) {
      put(node.caller_slot, none ? Undefined("No caller defined") : *caller);
    }
  }
  if (node.catches_kwargs) {
    auto kwargs = std::make_shared<DictObject>();
    for (const auto& [name, value] : args.named) kwargs->Set(Value::String(name), value);
    put(node.kwargs_slot, Dict(std::move(kwargs)));
  } else if (!args.named.empty()) {
    throw Error(ErrorKind::kType,
                absl::StrCat("macro '", node.name, "' takes no keyword argument '",
                             args.named[0].first, "'"));
  }
  if (node.catches_varargs) {
    const size_t used = std::min(count, args.positional.size());
    put(node.varargs_slot,
        Value::Tuple(
            {args.positional.begin() + static_cast<std::ptrdiff_t>(used), args.positional.end()}));
  } else if (args.positional.size() > count) {
    throw Error(ErrorKind::kType, absl::StrCat("macro '", node.name, "' takes not more than ",
                                               count, " argument(s)"));
  }
}

Value Evaluator::CallMacro(const MacroObject& macro, Arguments& args) {
  const MacroNode& node = *macro.node;
  const Holder holder(run_, NewFrame(node.slots, macro.outer));
  const FramePtr& frame = holder.frame();
  BindMacro(node, args, frame.get());
  Capture capture(&out_);
  Enter(node.frame, frame);
  const size_t required = node.parameters.size() - node.defaults.size();
  for (size_t i = 0; i < node.parameters.size(); ++i) {
    auto& slot = frame->slots[static_cast<size_t>(node.parameter_slots[i])];
    if (slot.has_value()) continue;
    if (i < required) {
      slot = Undefined(absl::StrCat("parameter ", Quoted(node.parameters[i]), " was not provided"));
    } else {
      Value value = Eval(*node.defaults[i - required], frame);
      frame->slots[static_cast<size_t>(node.parameter_slots[i])] = std::move(value);
    }
  }
  Exec(node.body, frame);
  return Value::String(capture.Text());
}

std::optional<Value> MacroAttribute(const Value& macro, const std::string& name) {
  const MacroNode& node = *macro.As<MacroObject>().node;
  if (name == "name") return node.name.empty() ? Value::None() : Value::String(node.name);
  if (name == "arguments") {
    std::vector<Value> names;
    for (const std::string& parameter : node.parameters) names.push_back(Value::String(parameter));
    return Value::Tuple(std::move(names));
  }
  if (name == "catch_kwargs") return Value::Bool(node.catches_kwargs);
  if (name == "catch_varargs") return Value::Bool(node.catches_varargs);
  if (name == "caller") return Value::Bool(node.takes_caller);
  if (name == "explicit_caller") return Value::Bool(node.explicit_caller);
  return std::nullopt;
}

std::string MacroText(const Value& macro) {
  const std::string& name = macro.As<MacroObject>().node->name;
  return absl::StrCat("<Macro ", name.empty() ? "anonymous" : Quoted(name), ">");
}

}  // namespace fttrain::jinja
