#include "launch/verify/step_record.h"

#include <ATen/ATen.h>

#include "runtime/math/ceil_divide.h"
#include "runtime/memory/mapped_file.h"

namespace fttrain {
namespace {

int64_t Bytes(const Parameter& parameter, at::ScalarType dtype) {
  return parameter.slice.GlobalNumel() * static_cast<int64_t>(c10::elementSize(dtype));
}

at::Tensor ViewAt(const at::Tensor& file, int64_t begin, const Parameter& parameter,
                  at::ScalarType dtype) {
  return file.narrow(0, begin, Bytes(parameter, dtype))
      .view(dtype)
      .view(parameter.slice.global_shape);
}

}  // namespace

at::ScalarType StepRecord::GradientDtype(const Parameter& parameter) {
  return parameter.dtype == at::kDouble ? at::kDouble : at::kFloat;
}

absl::StatusOr<std::unique_ptr<StepRecord>> StepRecord::Create(const ParameterSet& declared,
                                                               int64_t steps,
                                                               const std::string& folder,
                                                               Contents contents) {
  std::unique_ptr<StepRecord> record(new StepRecord);
  record->steps_ = steps;
  record->scalars.resize(static_cast<size_t>(steps));
  for (const auto& parameter : declared.all()) {
    Place& place = record->places_.emplace_back();
    if (!parameter->trainable) continue;
    place = {record->value_bytes_, record->gradient_bytes_, parameter.get()};
    if (contents == Contents::kAll) {
      record->value_bytes_ += RoundUp(Bytes(*parameter, parameter->dtype), kAlignmentBytes);
    }
    record->gradient_bytes_ +=
        RoundUp(Bytes(*parameter, GradientDtype(*parameter)), kAlignmentBytes);
  }
  // One rank alone makes the file: its failure is a status that the others can be told.
  try {
    record->file_ = MappedFileTensor(
        folder, (steps + 1) * record->value_bytes_ + steps * record->gradient_bytes_);
  } catch (const MappedFileError& error) {
    return absl::UnavailableError(error.what_without_backtrace());
  }
  return record;
}

at::Tensor StepRecord::Values(int64_t at, int64_t parameter) const {
  const Place& place = places_[static_cast<size_t>(parameter)];
  return ViewAt(file_, at * value_bytes_ + place.value, *place.parameter, place.parameter->dtype);
}

at::Tensor StepRecord::Gradients(int64_t at, int64_t parameter) const {
  const Place& place = places_[static_cast<size_t>(parameter)];
  const int64_t begin = (steps_ + 1) * value_bytes_ + at * gradient_bytes_ + place.gradient;
  return ViewAt(file_, begin, *place.parameter, GradientDtype(*place.parameter));
}

}  // namespace fttrain
