#include <ATen/core/dispatch/Dispatcher.h>
#include <gtest/gtest.h>

namespace fttrain {
namespace {

// Registered when libtorch_cuda.so is loaded, GPU or not.
TEST(CudaBackend, IsInTheProgram) {
  for (const char* name : {"aten::mm", "aten::addmm", "aten::_flash_attention_forward"}) {
    const auto schema = c10::Dispatcher::singleton().findSchema({name, ""});
    ASSERT_TRUE(schema.has_value()) << name;
    EXPECT_TRUE(schema->hasKernelForDispatchKey(c10::DispatchKey::CUDA)) << name;
  }
}

}  // namespace
}  // namespace fttrain
