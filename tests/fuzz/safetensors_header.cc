// The JSON header of a safetensors file. The first byte is the size of the data behind it.
#include "runtime/files/safetensors_header.h"

#include <algorithm>

#include "runtime/process/check.h"
#include "tests/fuzz/target.h"

namespace fttrain::fuzz {
namespace {

constexpr int64_t kStart = 4096;  // of the data, as if the header were so long

// Tensors lie in the data section one behind the other and say their size.
void CheckEntries(const SafetensorsHeader& header, int64_t data_bytes) {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const auto& [name, entry] : header.entries) {
    FT_CHECK(name.size() <= kMaxNameBytes && entry.shape.size() <= kMaxRank, name);
    FT_CHECK(TensorBytes(entry.dtype, entry.shape) == entry.size_bytes, name);
    ranges.emplace_back(entry.offset_bytes, entry.size_bytes);
  }
  std::sort(ranges.begin(), ranges.end());
  int64_t end = kStart;
  for (const auto& [begin, bytes] : ranges) {
    FT_CHECK(begin == end && bytes >= 0, begin, " ", bytes, " after ", end);
    end += bytes;
  }
  FT_CHECK(end == kStart + data_bytes, end, " of ", data_bytes);
}

// What a writer makes of it is read as the same.
void CheckWrittenAgain(const SafetensorsHeader& header, int64_t data_bytes) {
  std::vector<SafetensorsWriter::Tensor> tensors;
  for (const auto& [name, entry] : header.entries)
    tensors.push_back({name, entry.dtype, entry.shape});
  const auto place = [&](const SafetensorsWriter::Tensor& tensor) {
    const SafetensorsEntry& entry = header.entries.find(tensor.name)->second;
    return std::tuple(entry.offset_bytes, entry.size_bytes, tensor.name);
  };
  std::sort(tensors.begin(), tensors.end(),
            [&](const auto& a, const auto& b) { return place(a) < place(b); });
  int64_t bytes = 0;
  const auto text = SafetensorsPreamble(tensors, header.metadata, &bytes);
  FT_CHECK(text.ok() && bytes == data_bytes, text.status().ToString());
  const int64_t start = static_cast<int64_t>(text->size());
  const auto again =
      ParseSafetensorsHeader(std::string_view(*text).substr(8), start, start + bytes, "again");
  FT_CHECK(again.ok(), again.status().ToString());
  FT_CHECK(again->metadata == header.metadata && again->entries.size() == header.entries.size(),
           "");
  for (const auto& [name, entry] : again->entries) {
    const SafetensorsEntry& before = header.entries.find(name)->second;
    FT_CHECK(entry.dtype == before.dtype && entry.shape == before.shape &&
                 entry.offset_bytes - start == before.offset_bytes - kStart,
             name);
  }
}

}  // namespace

std::vector<std::string> Seeds() {
  return {std::string("\0{}", 3),
          "\x08{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
          "\x0c{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
          "\"v\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[8,12]},"
          "\"__metadata__\":{\"format\":\"pt\"}}  ",
          "\x02{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]},"
          "\"a\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[0,1]},"
          "\"e\":{\"dtype\":\"I64\",\"shape\":[0,3],\"data_offsets\":[0,0]}}"};
}

std::vector<std::string> Words() {
  return {"\"w\"",
          "\"v\"",
          "\"dtype\"",
          "\"shape\"",
          "\"data_offsets\"",
          "\"__metadata__\"",
          "\"F64\"",
          "\"F16\"",
          "\"I8\"",
          "\"U8\"",
          "\"BOOL\"",
          "\"F8_E4M3\"",
          "\\u0000",
          "[0,0]",
          "{}",
          "[]",
          "[1,1]",
          "[0,1]",
          ",\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}"};
}

}  // namespace fttrain::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fttrain;
  using namespace fttrain::fuzz;
  if (size == 0) return 0;
  const std::string_view json(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto header = ParseSafetensorsHeader(json, kStart, kStart + data[0], "x.safetensors");
  if (!header.ok()) return Refused(header.status());
  ++accepted;
  CheckEntries(*header, data[0]);
  CheckWrittenAgain(*header, data[0]);
  return 0;
}
