#include "model/files/equal_rows.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "model/files/nf4_folder.h"
#include "model/files/slice_reader.h"
#include "model/files/tensor_io.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Of floating elements, little-endian; -0 is zero, too.
bool IsZero(const std::vector<char>& row, int64_t element_bytes) {
  for (size_t i = 0; i < row.size(); ++i) {
    const bool has_sign = static_cast<int64_t>(i + 1) % element_bytes == 0;
    if ((row[i] & (has_sign ? 0x7f : 0xff)) != 0) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<std::vector<EqualRows>> FindEqualHeadRows(const SafetensorsFolder& files,
                                                         const ModelSpec& model,
                                                         const std::vector<int64_t>& rows) {
  const std::string name = absl::StrCat(model.head.name, ".weight");
  const std::vector<int64_t> shape = {model.vocab_size, model.hidden_size};
  const SafetensorsEntry* entry = files.Find(name);
  if (rows.empty() || entry == nullptr || entry->shape != shape || IsNf4Tensor(files, name) ||
      !FloatTypeOf(entry->dtype)) {
    return std::vector<EqualRows>();
  }
  const int64_t element_bytes = DtypeBytes(entry->dtype);
  const int64_t row_bytes = model.hidden_size * element_bytes;
  std::vector<std::vector<char>> asked(rows.size(), std::vector<char>(row_bytes));
  std::vector<EqualRows> found(rows.size());
  for (size_t k = 0; k < rows.size(); ++k) {
    FT_RETURN_IF_ERROR(files.ReadBytes(name, rows[k] * row_bytes, row_bytes, asked[k].data()));
    found[k].row = rows[k];
    found[k].zero = IsZero(asked[k], element_bytes);
  }
  const int64_t most = std::max<int64_t>(1, kStagingBytes / row_bytes);
  std::vector<char> piece(std::min(most, model.vocab_size) * row_bytes);
  for (int64_t first = 0; first < model.vocab_size; first += most) {
    const int64_t count = std::min(most, model.vocab_size - first);
    FT_RETURN_IF_ERROR(
        ReadRuns(files, name, RunsOf(shape, 0, first, count), element_bytes, piece.data()));
    for (int64_t i = 0; i < count; ++i) {
      for (size_t k = 0; k < rows.size(); ++k) {
        if (first + i == rows[k]) continue;
        if (std::memcmp(piece.data() + i * row_bytes, asked[k].data(), row_bytes) != 0) continue;
        ++found[k].others_in_all;
        if (found[k].others.size() < EqualRows::kMostOthers) found[k].others.push_back(first + i);
      }
    }
  }
  std::erase_if(found, [](const EqualRows& row) { return !row.zero && row.others.empty(); });
  return found;
}

}  // namespace fttrain
