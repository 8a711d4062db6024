#include "launch/checkpoint/manifest_checks.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/files/safetensors.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

absl::Status Bad(const std::string& where, const char* key, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ".", key, ": ", what));
}

// Elements of the slice; nothing for a negative extent or more than 2^63 - 1.
std::optional<int64_t> SliceElements(const ManifestTensor& tensor) {
  int64_t elements = 1;
  for (size_t d = 0; d < tensor.global_shape.size(); ++d) {
    const bool sliced = static_cast<int>(d) == tensor.dim;
    const int64_t extent = sliced ? tensor.extent : tensor.global_shape[d];
    if (extent < 0 || __builtin_mul_overflow(elements, extent, &elements)) return std::nullopt;
  }
  return elements;
}

bool IsKind(std::string_view word) {
  return !word.empty() && word.size() <= 64 && std::all_of(word.begin(), word.end(), [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_';
  });
}

absl::Status CheckSlice(const ManifestTensor& tensor, const std::string& where) {
  const int rank = static_cast<int>(tensor.global_shape.size());
  if (tensor.dim < -1 || tensor.dim >= rank) {
    return Bad(where, "dim",
               absl::StrCat(tensor.dim, " of a tensor of ", rank, " dimensions (-1: all of it)"));
  }
  if (tensor.dim == -1) {
    if (tensor.offset == 0 && tensor.extent == 0) return absl::OkStatus();
    return Bad(where, "offset", "dim -1 is all of the tensor, with offset and extent 0");
  }
  const int64_t whole = tensor.global_shape[static_cast<size_t>(tensor.dim)];
  if (tensor.offset < 0 || tensor.extent < 0 || tensor.offset > whole ||
      tensor.extent > whole - tensor.offset) {
    return Bad(where, "extent",
               absl::StrCat(tensor.extent, " from ", tensor.offset, " on, of dimension ",
                            tensor.dim, ", which has ", whole));
  }
  return absl::OkStatus();
}

using Files = std::map<std::string_view, const ManifestFile*>;

absl::StatusOr<Files> CheckFiles(const Manifest& manifest, const std::string& path) {
  Files files;
  for (size_t i = 0; i < manifest.files.size(); ++i) {
    const ManifestFile& file = manifest.files[i];
    const std::string where = absl::StrCat(path, ": files[", i, "]");
    if (!IsPlainName(file.name)) {
      return Bad(where, "name", absl::StrCat("'", Printable(file.name), "' is no plain file name"));
    }
    if (!files.emplace(file.name, &file).second) {
      return Bad(where, "name", absl::StrCat("'", Printable(file.name), "' appears twice"));
    }
    const bool hex = std::all_of(file.sha256.begin(), file.sha256.end(), [](char c) {
      return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
    });
    if (!hex || file.sha256.size() != 64) {
      return Bad(where, "sha256", "64 lower-case hexadecimal digits are needed");
    }
    if (file.bytes < 0) return Bad(where, "bytes", absl::StrCat(file.bytes, " is negative"));
  }
  return files;
}

absl::Status CheckData(const ManifestTensor& tensor, const Files& files, const std::string& where) {
  const auto file = files.find(tensor.file);
  if (file == files.end()) {
    return Bad(where, "file",
               absl::StrCat("'", Printable(tensor.file), "' is none of the checkpoint's files"));
  }
  const int64_t bytes = file->second->bytes;
  if (tensor.data_begin < 0 || tensor.data_begin > tensor.data_end || tensor.data_end > bytes) {
    return Bad(where, "data_end",
               absl::StrCat("[", tensor.data_begin, ", ", tensor.data_end, ") is not inside ",
                            tensor.file, ", which has ", bytes, " bytes"));
  }
  int64_t needed = 0;
  const int64_t size = ManifestDtypeBytes(tensor.dtype);
  if (__builtin_mul_overflow(tensor.numel, size, &needed) ||
      tensor.data_end - tensor.data_begin != needed) {
    return Bad(where, "data_end",
               absl::StrCat(tensor.data_end - tensor.data_begin, " bytes for ", tensor.numel,
                            " values of ", size));
  }
  return absl::OkStatus();
}

// Tensor numbers in the order of what `key` returns.
template <typename Key>
std::vector<size_t> Sorted(const std::vector<ManifestTensor>& tensors, const Key& key) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return key(tensors[a]) < key(tensors[b]); });
  return order;
}

absl::Status CheckNoByteIsTwoTensors(const Manifest& manifest, const std::string& path) {
  const std::vector<ManifestTensor>& all = manifest.tensors;
  const std::vector<size_t> order = Sorted(
      all, [](const ManifestTensor& t) { return std::tie(t.file, t.data_begin, t.data_end); });
  for (size_t i = 1; i < order.size(); ++i) {
    const ManifestTensor &before = all[order[i - 1]], &tensor = all[order[i]];
    if (before.file != tensor.file || before.data_end <= tensor.data_begin) continue;
    return Bad(absl::StrCat(path, ": tensors[", order[i], "]"), "data_begin",
               absl::StrCat(tensor.data_begin, " in ", tensor.file, " is inside tensors[",
                            order[i - 1], "]"));
  }
  return absl::OkStatus();
}

// Parts of one tensor agree on what it is, and no value is stored twice for one slice.
absl::Status CheckParts(const Manifest& manifest, const std::string& path) {
  const std::vector<ManifestTensor>& all = manifest.tensors;
  const std::vector<size_t> order = Sorted(all, [](const ManifestTensor& t) {
    return std::tie(t.name, t.kind, t.dim, t.offset, t.extent, t.begin, t.end);
  });
  for (size_t i = 1; i < order.size(); ++i) {
    const ManifestTensor &before = all[order[i - 1]], &tensor = all[order[i]];
    if (before.name != tensor.name || before.kind != tensor.kind) continue;
    const std::string where = absl::StrCat(path, ": tensors[", order[i], "]");
    const std::string other = absl::StrCat("tensors[", order[i - 1], "]");
    if (before.dtype != tensor.dtype || before.global_shape != tensor.global_shape) {
      return Bad(where, "global_shape",
                 absl::StrCat("[", absl::StrJoin(tensor.global_shape, ", "), "] ", tensor.dtype,
                              " is not what ", other, " says of ", Printable(tensor.name)));
    }
    if (std::tie(before.dim, before.offset, before.extent) !=
        std::tie(tensor.dim, tensor.offset, tensor.extent)) {
      continue;
    }
    const bool twice = before.begin == tensor.begin && before.end == tensor.end;
    if (!twice && before.end <= tensor.begin) continue;
    return Bad(where, "begin",
               absl::StrCat("[", tensor.begin, ", ", tensor.end, ") of ", Printable(tensor.name),
                            " is in ", other, " too"));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t ManifestDtypeBytes(std::string_view dtype) {
  const std::optional<SafetensorsDtype> known = DtypeOf(dtype);
  return known ? DtypeBytes(*known) : 0;
}

bool IsPlainName(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name[0] != '.' && name != "manifest.json" &&
         name != "COMMIT" && std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return c != '/' && c != 127 && c >= ' ';
         });
}

absl::Status CheckTensor(const ManifestTensor& tensor, const std::string& where) {
  if (tensor.name.empty() || tensor.name.size() > 4000) {
    return Bad(where, "name", "not of 1 to 4000 bytes");
  }
  if (!IsKind(tensor.kind)) {
    return Bad(where, "kind",
               absl::StrCat("'", Printable(tensor.kind), "' is no word of a-z, 0-9 and _"));
  }
  if (ManifestDtypeBytes(tensor.dtype) == 0) {
    return Bad(where, "dtype", absl::StrCat("'", Printable(tensor.dtype), "' is no dtype"));
  }
  FT_RETURN_IF_ERROR(CheckSlice(tensor, where));
  const std::optional<int64_t> elements = SliceElements(tensor);
  if (!elements || tensor.global_shape.size() > 8) {
    return Bad(where, "global_shape", "not at most 8 dimensions and 2^63 - 1 elements");
  }
  if (tensor.begin < 0 || tensor.begin > tensor.end || tensor.end > *elements) {
    return Bad(where, "end",
               absl::StrCat("[", tensor.begin, ", ", tensor.end, ") is not inside a slice of ",
                            *elements, " elements"));
  }
  if (tensor.numel < 0 || tensor.numel > tensor.end - tensor.begin) {
    return Bad(where, "numel",
               absl::StrCat(tensor.numel, " values for ", tensor.end - tensor.begin, " elements"));
  }
  return absl::OkStatus();
}

absl::Status CheckManifest(const Manifest& manifest, const std::string& path) {
  FT_ASSIGN_OR_RETURN(const Files files, CheckFiles(manifest, path));
  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    const std::string where = absl::StrCat(path, ": tensors[", i, "]");
    FT_RETURN_IF_ERROR(CheckTensor(manifest.tensors[i], where));
    FT_RETURN_IF_ERROR(CheckData(manifest.tensors[i], files, where));
  }
  FT_RETURN_IF_ERROR(CheckNoByteIsTwoTensors(manifest, path));
  return CheckParts(manifest, path);
}

}  // namespace fttrain
