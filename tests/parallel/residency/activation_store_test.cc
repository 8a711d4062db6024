// Sets of tensors in host memory and back, while other work runs. With FTTRAIN_TEST_DEVICE=cuda
// the copies are asynchronous.
#include "parallel/residency/activation_store.h"

#include <gmock/gmock.h>

#include <string>

#include "runtime/memory/ledger.h"
#include "tests/test_device.h"

namespace fttrain {
namespace {

// Two large tensors and a small one of another type, as a layer keeps them.
struct Tensors {
  at::Tensor wide, narrow, small;
  std::vector<KeptTensor> Kept() {
    return {{"wide", &wide}, {"narrow", &narrow}, {"small", &small}};
  }
};

constexpr int64_t kRows = 128, kWide = 160, kNarrow = 40;
constexpr int64_t kSetBytes = kRows * (kWide + kNarrow) * 2 + kRows * 4;

Tensors Made(uint64_t seed, int64_t rows = kRows) {
  const auto made = [&](int64_t columns, at::ScalarType dtype) {
    const at::Tensor drawn = Randn({rows, columns}, dtype, seed + static_cast<uint64_t>(columns));
    const MemoryScope scope(MemoryCategory::kSaved);
    return drawn.clone();
  };
  return {made(kWide, at::kBFloat16), made(kNarrow, at::kBFloat16), made(1, at::kFloat)};
}

// Keeps a GPU's current stream busy, so that a copy that is not ordered after it would show.
void Compute() {
  if (TestDevice().is_cpu()) return;
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const at::Tensor x = at::ones({512, 512}, at::TensorOptions(at::kFloat).device(TestDevice()));
  for (int i = 0; i < 50; ++i) at::mm(x, x);
}

int64_t OnDevice() { return MemoryOf(MemoryCategory::kSaved).current_bytes; }
int64_t OnHostNow() { return MemoryOf(MemoryCategory::kSaved, MemoryPlace::kHost).current_bytes; }

class ActivationStoreTest : public testing::Test {
 protected:
  // Each set's values are those of a seed.
  static void Put(ActivationStore& store, int layer, int microbatch, uint64_t seed,
                  int64_t rows = kRows) {
    Tensors made = Made(seed, rows);
    store.Put({layer, microbatch}, made.Kept());
    EXPECT_FALSE(made.wide.defined() || made.small.defined());
  }
  static Tensors Take(ActivationStore& store, int layer, int microbatch) {
    Tensors taken;
    store.Take({layer, microbatch}, taken.Kept());
    return taken;
  }
  static void SetUpTestSuite() { UseMemoryLedger(); }
  void ExpectSame(Tensors& got, uint64_t seed, int64_t rows = kRows) {
    Tensors want = Made(seed, rows);
    const std::vector<KeptTensor> got_parts = got.Kept(), want_parts = want.Kept();
    for (size_t i = 0; i < got_parts.size(); ++i) {
      EXPECT_TRUE(at::equal(*got_parts[i].tensor, *want_parts[i].tensor))
          << got_parts[i].name << " of " << seed;
    }
  }
  // As a step does: forward of `layers`, then backward. Returns the most device bytes of sets.
  int64_t RunStep(ActivationStore& store, int layers, int microbatch = 0) {
    ResetMemoryPeaks();
    const int64_t before = OnDevice();
    for (int layer = 0; layer < layers; ++layer) {
      Compute();
      Put(store, layer, microbatch, static_cast<uint64_t>(layer));
    }
    for (int layer = layers; layer-- > 0;) {
      const Tensors taken = Take(store, layer, microbatch);
      store.Prefetch({layer - 1, microbatch});
      Compute();
    }
    const int64_t peak = MemoryOf(MemoryCategory::kSaved).peak_bytes - before;
    EXPECT_EQ(OnDevice(), before);
    return peak;
  }
};

TEST_F(ActivationStoreTest, BringsEverySetBackWithTheSameBitsInAnyOrder) {
  ActivationStore store(TestDevice());
  for (int step = 0; step < 3; ++step) {
    for (int microbatch = 0; microbatch < 3; ++microbatch) {
      for (int layer = 0; layer < 4; ++layer) {
        Put(store, layer, microbatch, static_cast<uint64_t>(10 * microbatch + layer));
        Made(99);  // likely in the same memory
        Compute();
      }
    }
    for (int layer = 4; layer-- > 0;) {
      for (int microbatch = 0; microbatch < 3; ++microbatch) {
        Tensors taken = Take(store, layer, microbatch);
        // Some come without notice.
        if (microbatch != 1) store.Prefetch({layer, microbatch + 1});
        Compute();
        ExpectSame(taken, static_cast<uint64_t>(10 * microbatch + layer));
      }
    }
    EXPECT_EQ(store.size(), 0u);
  }
}

TEST_F(ActivationStoreTest, SetsOfAllSizesShareTheHostBuffers) {
  ActivationStore store(TestDevice());
  const int64_t before = OnHostNow();
  for (const int64_t rows : {32, 128, 64, 128, 7}) {
    for (int layer = 0; layer < 3; ++layer) {
      Put(store, layer, 0, static_cast<uint64_t>(layer), rows);
    }
    for (int layer = 3; layer-- > 0;) {
      Tensors taken = Take(store, layer, 0);
      ExpectSame(taken, static_cast<uint64_t>(layer), rows);
    }
  }
  EXPECT_EQ(OnHostNow() - before, 3 * kSetBytes);
}

TEST_F(ActivationStoreTest, DeviceBytesStayWithinTwoSetsWhateverTheDepth) {
  ActivationStore store(TestDevice());
  const int64_t host = OnHostNow();
  for (const int layers : {2, 8, 24}) {
    // One set is made while one leaves; one is used while one arrives.
    EXPECT_EQ(RunStep(store, layers), 2 * kSetBytes) << layers;
    EXPECT_EQ(OnHostNow() - host, layers * kSetBytes);
  }
  RunStep(store, 8);
  EXPECT_EQ(OnHostNow() - host, 24 * kSetBytes) << "buffers are kept for the next step";
}

TEST_F(ActivationStoreTest, TheLastSetPutIsHandedBackWithoutACopy) {
  ActivationStore store(TestDevice());
  Tensors made = Made(1);
  const void* const data = made.wide.const_data_ptr();
  store.Put({0, 0}, made.Kept());
  store.Prefetch({0, 0});
  store.Take({0, 0}, made.Kept());
  EXPECT_EQ(made.wide.const_data_ptr(), data);
  ExpectSame(made, 1);
}

TEST_F(ActivationStoreTest, AForwardMayRunBetweenTheBackwardsOfOthers) {
  ActivationStore store(TestDevice());
  ResetMemoryPeaks();
  const int64_t before = OnDevice();
  const auto forward = [&](int microbatch) {
    for (int layer = 0; layer < 3; ++layer) {
      Compute();
      if (layer == 2) store.Prefetch({2, microbatch - 1});
      Put(store, layer, microbatch, static_cast<uint64_t>(layer + 5 * microbatch));
    }
  };
  forward(0);
  for (int microbatch = 0; microbatch < 4; ++microbatch) {
    forward(microbatch + 1);
    for (int layer = 3; layer-- > 0;) {
      Tensors taken = Take(store, layer, microbatch);
      store.Prefetch({layer - 1, microbatch});
      Compute();
      ExpectSame(taken, static_cast<uint64_t>(layer + 5 * microbatch));
    }
  }
  EXPECT_EQ(store.size(), 3u);
  // ExpectSame makes a set of its own.
  EXPECT_LE(MemoryOf(MemoryCategory::kSaved).peak_bytes - before, (3 + 1) * kSetBytes);
}

TEST_F(ActivationStoreTest, TensorsThatAreNotThereStayUndefined) {
  ActivationStore store(TestDevice());
  for (int layer = 0; layer < 2; ++layer) {
    Tensors made = Made(3);
    made.narrow.reset();
    store.Put({layer, 0}, made.Kept());
  }
  const Tensors taken = Take(store, 0, 0);
  EXPECT_FALSE(taken.narrow.defined());
  EXPECT_TRUE(at::equal(taken.wide, Made(3).wide));
}

TEST_F(ActivationStoreTest, ClearingForgetsSetsThatLeaveAndSetsThatArrive) {
  const int64_t device = OnDevice(), host = OnHostNow();
  {
    ActivationStore store(TestDevice());
    for (int layer = 0; layer < 3; ++layer) Put(store, layer, 0, 4);
    store.Prefetch({0, 0});
    store.Clear();
    EXPECT_EQ(store.size(), 0u);
    EXPECT_EQ(OnDevice(), device);
    RunStep(store, 3);
    EXPECT_EQ(OnHostNow() - host, 3 * kSetBytes);
  }
  EXPECT_EQ(OnHostNow(), host);
}

TEST_F(ActivationStoreTest, AKeyIsStoredOnceAndTakenOnce) {
  ActivationStore store(TestDevice());
  Tensors made = Made(5), again = Made(5);
  store.Put({3, 7}, made.Kept());
  EXPECT_THROW(store.Put({3, 7}, again.Kept()), c10::Error);
  store.Take({3, 7}, made.Kept());
  EXPECT_THAT(
      [&] {
        store.Take({3, 7}, made.Kept());
      },
      testing::ThrowsMessage<c10::Error>(
          testing::HasSubstr("what layer 3 keeps of microbatch 7 is not stored")));
}

}  // namespace
}  // namespace fttrain
