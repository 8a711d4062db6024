// A group's values that lie back to back at home, and their window on the device while in use.
#pragma once

#include <memory>
#include <vector>

#include "parallel/layout/param.h"
#include "parallel/storage/flat_parameters.h"
#include "parallel/storage/value_source.h"

namespace fttrain {

class ValueWindow {
 public:
  // Of frozen parameters, each on 64 bytes, the whole in `parts` parts of equally many times 64.
  ValueWindow(const std::vector<Parameter*>& frozen, int64_t parts);
  // Of all of a flat buffer's values.
  explicit ValueWindow(const FlatBuffer& flat);

  int64_t bytes() const { return bytes_; }
  const Parameter& first() const { return *places_.front().parameter; }
  bool trainable() const { return places_.front().parameter->trainable; }  // all are, or none
  void SetSource(std::unique_ptr<ValueSource> source) { source_ = std::move(source); }

  // Allocates the window on the device, booked under the parameters' category, and starts to fill
  // it. Then, before anything else, Arrive; Start and Wait of the source say what they mean.
  void Bring(c10::Device device);
  void Arrive() { source_->Wait(); }
  // The kept values, to be changed and kept with Store: in host memory where the source has them
  // there whole, else by Bring and Arrive.
  void BringForWriting(c10::Device device);
  void Drop() { window_.reset(); }
  // Makes every parameter's `value` a view of the window, or undefined.
  void Bind() const;
  void Unbind() const;
  // Keeps what the window holds.
  void Store() { source_->Store(window_); }

 private:
  struct Place {
    Parameter* parameter;
    int64_t offset;  // bytes
  };
  std::vector<Place> places_;
  int64_t bytes_ = 0;
  MemoryCategory category_ = MemoryCategory::kWeights;
  at::Tensor window_;  // kByte [bytes]
  // After the window, so that it is destroyed before: what it still fills is not given away.
  std::unique_ptr<ValueSource> source_;
};

}  // namespace fttrain
