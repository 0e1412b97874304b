// The state that the shim's calls keep between beats.
#pragma once

namespace shim {

void reset();

}  // namespace shim
