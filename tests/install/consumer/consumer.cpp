// A program of somebody else, in C++17.  Lists the devices; 0 where the library is the version that was asked for.
#include <aios/aios.hpp>

#include <iostream>

int json_parse() // a name that libaios has inside: a static library must keep it there
{
    return 1;
}

int main(int argc, char **argv)
try {
    if (argc != 2 || aios::version() != argv[1]) throw std::runtime_error("libaios is version " + std::string(aios::version()));
    const aios::context context;
    const aios::device_list devices(context);
    for (const aios_device_entry &entry : devices) std::cout << entry.spec << ": " << entry.info.name << '\n';
    return devices.size() > 0 && json_parse() == 1 ? 0 : 1;
} catch (const std::exception &e) {
    std::cerr << e.what() << '\n';
    return 1;
}
