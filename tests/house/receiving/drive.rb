require "json"
require_relative "receiving"
def judged(one)
  genuine?(one["secret"], one["headers"], one["body"].unpack1("m0"), Time.at(one["now"]))
rescue ArgumentError => error
  error.message
end
puts JSON.generate(JSON.parse($stdin.read).map { |one| judged(one) })
