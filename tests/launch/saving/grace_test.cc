#include "launch/saving/grace.h"

#include <gmock/gmock.h>

#include <cstdlib>

namespace fttrain {
namespace {

using ::testing::HasSubstr;

class Grace : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name :
         {"FTTRAIN_GRACE", "OMPI_COMM_WORLD_SIZE", "OMPI_MCA_odls_base_sigkill_timeout"}) {
      unsetenv(name);
    }
  }
};

TEST_F(Grace, OfARankThatNobodyStartedHasNoEnd) {
  EXPECT_FALSE(GraceSeconds().has_value());
  EXPECT_EQ(GraceWarning(1e6), "");
}

TEST_F(Grace, OfMpirunIsASecondUnlessItWasToldOtherwise) {
  setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
  EXPECT_EQ(GraceSeconds(), 1.0);
  EXPECT_EQ(GraceWarning(0.9), "");
  EXPECT_THAT(GraceWarning(2.5), HasSubstr("took 2.5 s, and mpirun kills its ranks 1 s after"));
  setenv("OMPI_MCA_odls_base_sigkill_timeout", "60", 1);
  EXPECT_EQ(GraceWarning(2.5), "");
}

TEST_F(Grace, IsWhatAScriptSays) {
  setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
  setenv("FTTRAIN_GRACE", "unlimited", 1);
  EXPECT_FALSE(GraceSeconds().has_value());
  setenv("FTTRAIN_GRACE", "300", 1);
  EXPECT_EQ(GraceWarning(299), "");
  EXPECT_THAT(GraceWarning(301), HasSubstr("killed after 300 s"));
}

}  // namespace
}  // namespace fttrain
