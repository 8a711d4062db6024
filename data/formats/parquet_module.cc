// Parquet files through Arrow, as JSON. A library of its own: the program loads it with the first
// Parquet file, and runs without it. Nothing of Arrow, exceptions among it, leaves this file.
#include "data/formats/parquet_module.h"

#include <arrow/api.h>
#include <arrow/extension_type.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>

#include <charconv>
#include <cmath>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "data/formats/json_text.h"

namespace {

using fttrain::AppendJsonString;

constexpr int64_t kBatchRows = 512;

template <typename T>
void AppendNumber(T value, std::string* out) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  out->append(text, static_cast<size_t>(end - text));
}

void AppendReal(double value, std::string* out) {
  if (!std::isfinite(value)) {
    *out += "null";
    return;
  }
  const size_t begin = out->size();
  AppendNumber(value, out);
  // A whole number of a column of reals stays one.
  if (out->find_first_of(".e", begin) == std::string::npos) *out += ".0";
}

void AppendValue(const arrow::Array& array, int64_t i, std::string* out);

void AppendList(const arrow::Array& values, int64_t begin, int64_t end, std::string* out) {
  *out += '[';
  for (int64_t i = begin; i < end; ++i) {
    if (i > begin) *out += ',';
    AppendValue(values, i, out);
  }
  *out += ']';
}

template <typename ListArray>
void AppendListOf(const arrow::Array& array, int64_t i, std::string* out) {
  const auto& list = static_cast<const ListArray&>(array);
  AppendList(*list.values(), list.value_offset(i), list.value_offset(i) + list.value_length(i),
             out);
}

void AppendStruct(const arrow::StructArray& array, int64_t i, std::string* out) {
  *out += '{';
  for (int f = 0; f < array.num_fields(); ++f) {
    if (f > 0) *out += ',';
    AppendJsonString(array.struct_type()->field(f)->name(), out);
    *out += ':';
    AppendValue(*array.field(f), i, out);
  }
  *out += '}';
}

// Keys that are strings are an object's, as in JSON.
void AppendMap(const arrow::MapArray& array, int64_t i, std::string* out) {
  *out += '{';
  const int64_t begin = array.value_offset(i), end = begin + array.value_length(i);
  for (int64_t k = begin; k < end; ++k) {
    if (k > begin) *out += ',';
    std::string key;
    AppendValue(*array.keys(), k, &key);
    if (key.empty() || key[0] != '"') {
      std::string quoted;
      AppendJsonString(key, &quoted);
      key = quoted;
    }
    *out += key;
    *out += ':';
    AppendValue(*array.items(), k, out);
  }
  *out += '}';
}

#define CASE_NUMBER(TYPE, ARRAY)                                         \
  case arrow::Type::TYPE:                                                \
    AppendNumber(static_cast<const arrow::ARRAY&>(array).Value(i), out); \
    return true

// Whether the array is of whole numbers.
bool AppendWhole(const arrow::Array& array, int64_t i, std::string* out) {
  switch (array.type_id()) {
    CASE_NUMBER(INT8, Int8Array);
    CASE_NUMBER(INT16, Int16Array);
    CASE_NUMBER(INT32, Int32Array);
    CASE_NUMBER(INT64, Int64Array);
    CASE_NUMBER(UINT8, UInt8Array);
    CASE_NUMBER(UINT16, UInt16Array);
    CASE_NUMBER(UINT32, UInt32Array);
    CASE_NUMBER(UINT64, UInt64Array);
    default:
      return false;
  }
}

#undef CASE_NUMBER

void AppendValue(const arrow::Array& array, int64_t i, std::string* out) {
  if (array.IsNull(i)) {
    *out += "null";
    return;
  }
  if (AppendWhole(array, i, out)) return;
  switch (array.type_id()) {
    case arrow::Type::BOOL:
      *out += static_cast<const arrow::BooleanArray&>(array).Value(i) ? "true" : "false";
      return;
    case arrow::Type::FLOAT:
      return AppendReal(static_cast<const arrow::FloatArray&>(array).Value(i), out);
    case arrow::Type::DOUBLE:
      return AppendReal(static_cast<const arrow::DoubleArray&>(array).Value(i), out);
    case arrow::Type::STRING:
      return AppendJsonString(static_cast<const arrow::StringArray&>(array).GetView(i), out);
    case arrow::Type::LARGE_STRING:
      return AppendJsonString(static_cast<const arrow::LargeStringArray&>(array).GetView(i), out);
    case arrow::Type::STRING_VIEW:
      return AppendJsonString(static_cast<const arrow::StringViewArray&>(array).GetView(i), out);
    case arrow::Type::DICTIONARY: {
      const auto& coded = static_cast<const arrow::DictionaryArray&>(array);
      return AppendValue(*coded.dictionary(), coded.GetValueIndex(i), out);
    }
    case arrow::Type::LIST:
      return AppendListOf<arrow::ListArray>(array, i, out);
    case arrow::Type::LARGE_LIST:
      return AppendListOf<arrow::LargeListArray>(array, i, out);
    case arrow::Type::FIXED_SIZE_LIST:
      return AppendListOf<arrow::FixedSizeListArray>(array, i, out);
    case arrow::Type::STRUCT:
      return AppendStruct(static_cast<const arrow::StructArray&>(array), i, out);
    case arrow::Type::MAP:
      return AppendMap(static_cast<const arrow::MapArray&>(array), i, out);
    case arrow::Type::EXTENSION:
      return AppendValue(*static_cast<const arrow::ExtensionArray&>(array).storage(), i, out);
    default:  // dates, decimals, bytes: no text, no number, no list
      *out += "{\"parquet type\":";
      AppendJsonString(array.type()->ToString(), out);
      *out += '}';
  }
}

class File {
 public:
  explicit File(const std::string& path) {
    auto input = arrow::io::ReadableFile::Open(path);
    if (!input.ok()) throw parquet::ParquetException(input.status().message());
    parquet::ReaderProperties properties;
    properties.enable_buffered_stream();
    parquet::ArrowReaderProperties arrow_properties;
    arrow_properties.set_batch_size(kBatchRows);
    arrow_properties.set_pre_buffer(false);
    parquet::arrow::FileReaderBuilder builder;
    Check(builder.Open(*input, properties));
    Check(builder.memory_pool(arrow::default_memory_pool())
              ->properties(arrow_properties)
              ->Build(&reader_));
  }

  bool Next(const std::string** text) {
    while (batch_ == nullptr || row_ == batch_->num_rows()) {
      if (!NextBatch()) return false;
    }
    text_.assign(1, '{');
    for (int c = 0; c < batch_->num_columns(); ++c) {
      if (c > 0) text_ += ',';
      AppendJsonString(batch_->column_name(c), &text_);
      text_ += ':';
      AppendValue(*batch_->column(c), row_, &text_);
    }
    text_ += '}';
    ++row_;
    *text = &text_;
    return true;
  }

 private:
  static void Check(const arrow::Status& status) {
    if (!status.ok()) throw parquet::ParquetException(status.message());
  }
  bool NextBatch() {
    row_ = 0;
    for (;;) {
      if (batches_ == nullptr) {
        if (group_ == reader_->num_row_groups()) return false;
        auto batches = reader_->GetRecordBatchReader(std::vector<int>{group_++});
        Check(batches.status());
        batches_ = *std::move(batches);
      }
      Check(batches_->ReadNext(&batch_));
      if (batch_ != nullptr) {
        Check(batch_->ValidateFull());
        return true;
      }
      batches_.reset();
    }
  }

  std::unique_ptr<parquet::arrow::FileReader> reader_;
  std::unique_ptr<arrow::RecordBatchReader> batches_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  int group_ = 0;
  int64_t row_ = 0;
  std::string text_;
};

// f's result, or `failed` and what it threw.
template <typename T, typename F>
T Guarded(T failed, const char** error, const F& f) {
  thread_local std::string what;
  try {
    return f();
  } catch (const std::exception& thrown) {
    what = thrown.what();
  } catch (...) {
    what = "unknown";
  }
  *error = what.c_str();
  return failed;
}

void* Open(const char* path, const char** error) {
  return Guarded<void*>(nullptr, error, [&] { return new File(path); });
}

int Next(void* file, const char** text, size_t* size, const char** error) {
  return Guarded(-1, error, [&] {
    const std::string* row = nullptr;
    if (!static_cast<File*>(file)->Next(&row)) return 0;
    *text = row->data();
    *size = row->size();
    return 1;
  });
}

void Close(void* file) { delete static_cast<File*>(file); }

}  // namespace

const FttrainParquet* fttrain_parquet() {
  static const FttrainParquet face = {kFttrainParquetVersion, Open, Next, Close};
  return &face;
}
