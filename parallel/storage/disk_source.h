// Values on a disk, which a thread reads ahead of their use.
#pragma once

#include <cstdint>
#include <memory>

#include "parallel/storage/value_source.h"
#include "runtime/memory/nameless_file.h"

namespace fttrain {

// The thread that reads for all disk sources of a store, in the order of their Starts: by pieces
// into two buffers in turn, from where they are copied to the window on a stream of its own, so
// that neither reading nor copying holds up what the device computes. On a CPU the same code copies
// at once. It ends with the last source that has it.
class DiskReader;

// Bytes of its buffers, in host memory (pinned on CUDA), if no source has more than
// `largest_bytes`.
int64_t DiskReaderBytes(int64_t largest_bytes);
// The buffers are booked under the current category at MemoryPlace::kHost.
std::shared_ptr<DiskReader> MakeDiskReader(c10::Device device, int64_t largest_bytes);

// The file's bytes. What a read throws comes out of Wait. Destroyed between Start and Wait, it
// gives up what is not read yet.
std::unique_ptr<ValueSource> MakeDiskSource(std::unique_ptr<NamelessFile> file,
                                            std::shared_ptr<DiskReader> reader);

}  // namespace fttrain
