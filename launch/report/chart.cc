#include "launch/report/chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace fttrain {
namespace {

constexpr double kWidth = 640, kHeight = 190, kLeft = 64, kRight = 8, kTop = 8, kBottom = 22;
constexpr size_t kColumns = 280;

// By curve or part; seen on a light and on a dark page.
constexpr std::array<const char*, 7> kColours = {"#2f7ed8", "#e0662c", "#2f9e5b", "#a154c0",
                                                 "#c9a227", "#7a848f", "#c2415d"};

struct Bounds {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void Take(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

struct Frame {
  Bounds x, y;
  double X(double value) const {
    const double range = x.high > x.low ? x.high - x.low : 1;
    return kLeft + (value - x.low) / range * (kWidth - kLeft - kRight);
  }
  double Y(double value) const {
    const double range = y.high > y.low ? y.high - y.low : 1;
    return kTop + (y.high - value) / range * (kHeight - kTop - kBottom);
  }
};

// What falls into one column of a picture.
struct Column {
  double x = 0, sum = 0;
  int count = 0;
  Bounds y;
};

std::vector<Column> ColumnsOf(const Curve& curve, const Bounds& x) {
  std::vector<Column> columns;
  int64_t last = -1;
  for (size_t i = 0; i < curve.x.size(); ++i) {
    if (!std::isfinite(curve.y[i])) continue;
    const double share = x.high > x.low ? (curve.x[i] - x.low) / (x.high - x.low) : 0;
    const auto index = static_cast<int64_t>(share * kColumns);
    const bool shared = curve.x.size() > kColumns && index == last;
    if (!shared) columns.emplace_back();
    Column& column = columns.back();
    column.x = curve.x[i];
    column.sum += curve.y[i];
    ++column.count;
    column.y.Take(curve.y[i]);
    last = index;
  }
  return columns;
}

std::string Line(const std::vector<Column>& columns, const Frame& frame, const char* colour) {
  std::string points;
  for (const Column& column : columns) {
    absl::StrAppendFormat(&points, "%s%.1f,%.1f", points.empty() ? "" : " ", frame.X(column.x),
                          frame.Y(column.sum / column.count));
  }
  std::string text = absl::StrCat("<polyline fill=\"none\" stroke=\"", colour,
                                  "\" stroke-width=\"1.5\" points=\"", points, "\"/>");
  if (columns.size() > 40) return text;
  for (const Column& column : columns) {
    absl::StrAppendFormat(&text, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.2\" fill=\"%s\"/>",
                          frame.X(column.x), frame.Y(column.sum / column.count), colour);
  }
  return text;
}

std::string Ranges(const std::vector<Column>& columns, const Frame& frame, const char* colour) {
  std::string path;
  for (const Column& column : columns) {
    if (column.count == 1) continue;
    absl::StrAppendFormat(&path, "M%.1f %.1fV%.1f", frame.X(column.x), frame.Y(column.y.high),
                          frame.Y(column.y.low));
  }
  if (path.empty()) return "";
  return absl::StrCat("<path stroke=\"", colour, "\" stroke-opacity=\"0.25\" stroke-width=\"2\" d=\"",
                      path, "\"/>");
}

std::string Label(double x, double y, const char* anchor, const std::string& text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>", x, y, anchor,
                         text);
}

std::string Number(double value) { return absl::StrFormat("%.4g", value); }

std::string Axes(const Frame& frame) {
  const double bottom = kHeight - kBottom;
  return absl::StrCat(
      absl::StrFormat("<path class=\"axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>", kLeft, kTop, bottom,
                      kWidth - kRight),
      Label(kLeft - 6, kTop + 9, "end", Number(frame.y.high)),
      Label(kLeft - 6, bottom, "end", Number(frame.y.low)),
      Label(kLeft, kHeight - 6, "start", Number(frame.x.low)),
      Label(kWidth - kRight, kHeight - 6, "end", absl::StrFormat("%.0f", frame.x.high)));
}

const char* Colour(size_t i) { return kColours[i % kColours.size()]; }

std::string Legend(const std::vector<std::string>& texts) {
  std::string items;
  for (size_t i = 0; i < texts.size(); ++i) {
    absl::StrAppend(&items, "<span><i style=\"background:", Colour(i), "\"></i>", texts[i],
                    "</span> ");
  }
  return absl::StrCat("<div class=\"legend\">", items, "</div>\n");
}

}  // namespace

std::string Chart(const std::string& title, const std::vector<Curve>& curves) {
  Frame frame;
  for (const Curve& curve : curves) {
    for (size_t i = 0; i < curve.x.size(); ++i) {
      if (!std::isfinite(curve.y[i])) continue;
      frame.x.Take(curve.x[i]);
      frame.y.Take(curve.y[i]);
    }
  }
  if (frame.y.empty()) return "";
  std::string drawn = Axes(frame);
  std::vector<std::string> legend;
  for (size_t i = 0; i < curves.size(); ++i) {
    const std::vector<Column> columns = ColumnsOf(curves[i], frame.x);
    absl::StrAppend(&drawn, Ranges(columns, frame, Colour(i)), Line(columns, frame, Colour(i)));
    const double last = columns.empty() ? std::nan("") : curves[i].y.back();
    legend.push_back(absl::StrCat(curves[i].name, " ", Number(last)));
  }
  return absl::StrFormat("<figure><figcaption>%s</figcaption>%s<svg viewBox=\"0 0 %.0f %.0f\">%s"
                         "</svg></figure>\n",
                         title, Legend(legend), kWidth, kHeight, drawn);
}

std::string ShareBar(const std::vector<Part>& parts) {
  double all = 0;
  for (const Part& part : parts) all += part.amount;
  if (!(all > 0)) return "";
  std::string bar;
  std::vector<std::string> legend;
  for (size_t i = 0; i < parts.size(); ++i) {
    const double percent = 100 * parts[i].amount / all;
    absl::StrAppendFormat(&bar, "<i style=\"background:%s;width:%.2f%%\"></i>", Colour(i), percent);
    legend.push_back(absl::StrFormat("%s %.1f%%", parts[i].name, percent));
  }
  return absl::StrCat("<div class=\"shares\">", bar, "</div>\n", Legend(legend));
}

}  // namespace fttrain
