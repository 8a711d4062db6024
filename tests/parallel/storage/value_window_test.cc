#include "parallel/storage/value_window.h"

#include <gtest/gtest.h>

#include <optional>

namespace fttrain {
namespace {

using WeakTensor = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;

// Fills a window for ever.
class Filling : public ValueSource {
 public:
  explicit Filling(bool* window_outlives) : window_outlives_(window_outlives) {}
  ~Filling() override { *window_outlives_ = !window_->expired(); }
  void Start(const at::Tensor& window) override { window_.emplace(window.getIntrusivePtr()); }
  void Wait() override {}
  void Store(const at::Tensor&) override {}

 private:
  bool* window_outlives_;
  std::optional<WeakTensor> window_;
};

TEST(ValueWindow, IsThereUntilItsSourceIsGone) {
  Parameter parameter{.slice = WholeParam("weight", {4})};
  bool window_outlives = false;
  {
    ValueWindow window({&parameter}, /*parts=*/1);
    window.SetSource(std::make_unique<Filling>(&window_outlives));
    window.Bring(at::kCPU);
  }
  EXPECT_TRUE(window_outlives);
}

}  // namespace
}  // namespace fttrain
