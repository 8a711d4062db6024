#include "data/formats/parquet_rows.h"

#include <dlfcn.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/formats/bytes.h"
#include "data/formats/parquet_module.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"
#include "runtime/process/program_path.h"

namespace fttrain {
namespace {

constexpr const char* kOtherwise =
    "or write it as JSON Lines: pandas.read_parquet(...).to_json('rows.jsonl', orient='records', "
    "lines=True)";

std::string BesideTheProgram() {
  const std::string program = ProgramPath();
  return absl::StrCat(program.substr(0, program.rfind('/') + 1), "libfttrain_parquet.so");
}

// Once per process; threads wait for each other.
absl::StatusOr<const FttrainParquet*> Load() {
  const std::string built = FTTRAIN_PARQUET_MODULE;
  if (built.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("this program was built without Parquet: build it with FTTRAIN_PARQUET=ON "
                     "(launch/setup.sh installs what that needs), ",
                     kOtherwise));
  }
  std::string why;
  for (const std::string& path : {BesideTheProgram(), built}) {
    void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      why = dlerror();
      continue;
    }
    const auto face =
        reinterpret_cast<const FttrainParquet* (*)()>(dlsym(library, "fttrain_parquet"));
    if (face != nullptr && face()->version == kFttrainParquetVersion) return face();
    why = absl::StrCat(path, " is of another version of this program");
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "the library that reads Parquet files cannot be loaded (", Printable(why),
      "): it is not packed with the program; build it here with FTTRAIN_PARQUET=ON, ", kOtherwise));
}

class ParquetRows : public RowSource {
 public:
  ParquetRows(const FttrainParquet& face, void* file, std::string path, int64_t most)
      : face_(face), file_(file), path_(std::move(path)), most_(static_cast<size_t>(most)) {}
  ~ParquetRows() override { face_.close(file_); }
  ParquetRows(const ParquetRows&) = delete;
  ParquetRows& operator=(const ParquetRows&) = delete;

  absl::StatusOr<std::optional<SourceRow>> Next() override {
    const char *text = nullptr, *error = nullptr;
    size_t size = 0;
    const int found = face_.next(file_, &text, &size, &error);
    SourceRow row;
    row.is_of_table = true;
    row.where = absl::StrCat(path_, "[", next_, "]");
    if (found < 0) {
      return absl::InvalidArgumentError(absl::StrCat(row.where, ": the Parquet file is damaged: ",
                                                     Printable(error), ": copy or write it again"));
    }
    if (found == 0) return std::nullopt;
    ++next_;
    if (size > most_) {
      row.fault = absl::InvalidArgumentError(
          absl::StrCat(row.where, ": the row is longer than ", most_, " bytes: split it"));
      return row;
    }
    row.text.assign(text, size);
    return row;
  }

 private:
  const FttrainParquet& face_;
  void* file_;
  std::string path_;
  size_t most_;
  int64_t next_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RowSource>> OpenParquet(const std::string& path,
                                                       int64_t max_row_bytes) {
  static const absl::StatusOr<const FttrainParquet*> face = Load();
  const std::string shown = PathInWords(path);
  if (!face.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(shown, ": a Parquet file: ", std::string(face.status().message())));
  }
  int64_t bytes = 0;
  FT_ASSIGN_OR_RETURN(const int descriptor, OpenRegularFile(path, &bytes));
  close(descriptor);
  const char* error = nullptr;
  void* const file = (*face)->open(path.c_str(), &error);
  if (file == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        shown, ": the Parquet file is damaged: ", Printable(error), ": copy or write it again"));
  }
  return std::make_unique<ParquetRows>(**face, file, shown, max_row_bytes);
}

}  // namespace fttrain
