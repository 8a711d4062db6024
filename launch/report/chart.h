// A curve as a picture (SVG) within a page, however many points it has. Pure.
#pragma once

#include <string>
#include <vector>

namespace fttrain {

struct Curve {
  std::string name;
  std::vector<double> x, y;  // x ascends; a y that is not finite is not drawn
};

// Curves in one frame, with their last values and the range of each axis. Of more points than a
// picture has columns, each column's range is drawn light and its mean dark. Empty where nothing can
// be drawn.
std::string Chart(const std::string& title, const std::vector<Curve>& curves);

// A bar of shares, one colour each, with a legend of "name 12.3%".
struct Part {
  std::string name;
  double amount = 0;
};
std::string ShareBar(const std::vector<Part>& parts);

}  // namespace fttrain
