#include "runtime/process/near_device.h"

#include <gmock/gmock.h>
#include <sched.h>

#include <filesystem>
#include <set>
#include <string>
#include <thread>

#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::set<int> UsableCores() {
  cpu_set_t set;
  EXPECT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
  std::set<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.insert(core);
  }
  return cores;
}

// A system whose device 0000:3b:00.0 is at a node, and whose node 1 has the cores of a list.
class System {
 public:
  System(const std::string& node, const std::string& list) {
    std::filesystem::create_directories(folder_ / "bus/pci/devices/0000:3b:00.0");
    std::filesystem::create_directories(folder_ / "devices/system/node/node1");
    folder_.Write("bus/pci/devices/0000:3b:00.0/numa_node", node + "\n");
    folder_.Write("devices/system/node/node1/cpulist", list + "\n");
  }
  const std::string& path() const { return folder_.path(); }

 private:
  TempFolder folder_;
};

struct Bound {
  int node;
  std::set<int> cores;
};

// In a thread of its own: the test's keeps its cores.
Bound BoundBy(const System& sys, const std::string& address) {
  Bound bound{};
  std::thread([&] {
    bound.node = BindNearDevice(address, sys.path());
    bound.cores = UsableCores();
  }).join();
  return bound;
}

TEST(CoreList, IsReadAsTheKernelWritesIt) {
  EXPECT_THAT(ParseCoreList("0-2,8,10-11"), ElementsAre(0, 1, 2, 8, 10, 11));
  EXPECT_THAT(ParseCoreList(""), IsEmpty());
  EXPECT_THAT(ParseCoreList("0-x"), IsEmpty());
}

TEST(NearDevice, AThreadKeepsThoseOfItsCoresThatAreBesideTheDevice) {
  const std::set<int> before = UsableCores();
  const int first = *before.begin();
  const System sys("1", std::to_string(first) + ",1000");
  const Bound bound = BoundBy(sys, "0000:3B:00.0");
  EXPECT_EQ(bound.node, before.size() > 1 ? 1 : -1);  // of one core nothing is to be chosen
  EXPECT_THAT(bound.cores, ElementsAre(first));
  EXPECT_EQ(UsableCores(), before);
}

TEST(NearDevice, NothingChangesWithoutANodeOrWithoutAUsableCoreThere) {
  const std::set<int> before = UsableCores();
  const System no_node("-1", "0"), elsewhere("1", "1000-1001");
  for (const auto& [sys, address] :
       {std::pair(&no_node, "0000:3b:00.0"), std::pair(&elsewhere, "0000:3b:00.0"),
        std::pair(&elsewhere, "0000:ff:00.0")}) {
    const Bound bound = BoundBy(*sys, address);
    EXPECT_EQ(bound.node, -1);
    EXPECT_EQ(bound.cores, before);
  }
}

}  // namespace
}  // namespace fttrain
