#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/files/safetensors_header.h"
#include "runtime/files/strict_sax.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// {"metadata": anything, "weight_map": {tensor: file}}
class IndexSax : public StrictSax {
 public:
  std::map<std::string, std::string> weight_map;
  bool seen = false;

  bool null() override { return Other(); }
  bool boolean(bool) override { return Other(); }
  bool number_integer(number_integer_t) override { return Other(); }
  bool number_unsigned(number_unsigned_t) override { return Other(); }
  bool number_float(number_float_t, const string_t&) override { return Other(); }
  bool start_array(size_t) override { return Other() && Descend(); }
  bool end_array() override { return --depth_ >= 0; }

  bool start_object(size_t) override {
    if (depth_ == 1 && name_ == "weight_map") in_map_ = seen = true;
    if (in_map_ && depth_ > 1) return Refuse("an object");
    return Descend();
  }
  bool end_object() override {
    if (--depth_ == 1) in_map_ = false;
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ == 1 && name == "weight_map" && seen) return Refuse("second 'weight_map'");
    if (in_map_ && weight_map.contains(name)) {
      return Fail(absl::StrCat("tensor '", Printable(name), "' is listed twice"));
    }
    if (in_map_ && weight_map.size() >= size_t{4} * kMaxTensorsPerFile) {
      return Fail(absl::StrCat("more than ", 4 * kMaxTensorsPerFile, " tensors"));
    }
    name_ = name;
    return true;
  }
  bool string(string_t& value) override {
    if (!in_map_) return Other();
    const bool plain = value.size() > 12 && value.size() < 256 && value.ends_with(".safetensors") &&
                       value[0] != '.' &&
                       value.find_first_of(std::string_view("/\\\0", 3)) == value.npos;
    if (!plain) {
      return Fail(absl::StrCat("tensor '", Printable(name_), "': shard '", Printable(value),
                               "' is not a plain name ending in .safetensors"));
    }
    weight_map[name_] = value;
    return true;
  }

 protected:
  std::string Where() const override { return in_map_ ? "weight_map" : "index"; }

 private:
  bool Other() {
    const bool is_map = in_map_ || depth_ == 0 || (depth_ == 1 && name_ == "weight_map");
    return is_map ? Refuse("value that is no object of shard names") : true;
  }
  bool Descend() { return ++depth_ <= 32 || Fail("nested deeper than 32"); }

  int depth_ = 0;
  bool in_map_ = false;
  std::string name_;
};

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> ParseShardIndex(std::string_view json,
                                                                   const std::string& path) {
  IndexSax sax;
  FT_RETURN_IF_ERROR(sax.Parse(json, path));
  if (!sax.seen || sax.weight_map.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no tensors in 'weight_map'"));
  }
  return std::move(sax.weight_map);
}

}  // namespace fttrain
