// The host's cores beside a device.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fttrain {

// "0-3,8" -> 0, 1, 2, 3, 8, as the kernel writes lists of cores; empty if it is none.
std::vector<int> ParseCoreList(std::string_view text);

// Confines the calling thread, and threads that it starts from then on, to those of its cores that
// belong to the NUMA node of a PCI device ("0000:3b:00.0"; letters of either case): what it pins
// lies there, and copies to and from the device do not cross sockets. Changes nothing where the
// system names no node (one socket, a virtual machine) or no core of it may be used, so a rank that
// is bound elsewhere on purpose stays there. `sys`: /sys, or a test's. Returns the node, -1 if
// nothing changed.
int BindNearDevice(std::string_view pci_address, const std::string& sys = "/sys");

}  // namespace fttrain
