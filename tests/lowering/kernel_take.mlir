// Reads through an index tensor: y[i, j] = table[index[i], j]. The table is a kernel operand read by tensor.extract in the
// body; the index is clamped into range there. The table is not in ins.
builtin.module {
  func.func @main(%table: tensor<100x32xf32>, %index: tensor<20xi64>) -> tensor<20x32xf32> {
    %y = kernel.fused(%table, %index) : (tensor<100x32xf32>, tensor<20xi64>) -> tensor<20x32xf32> {
    ^bb0(%a: tensor<100x32xf32>, %b: tensor<20xi64>):
      %e = tensor.empty() : tensor<20x32xf32>
      %r = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%b : tensor<20xi64>) outs(%e : tensor<20x32xf32>) {
      ^bb1(%0: i64, %1: f32):
        %lo = arith.constant 0 : i64
        %hi = arith.constant 99 : i64
        %2 = arith.maxsi %0, %lo : i64
        %3 = arith.minsi %2, %hi : i64
        %4 = arith.index_cast %3 : i64 to index
        %5 = linalg.index 1 : index
        %6 = tensor.extract %a[%4, %5] : tensor<100x32xf32>
        linalg.yield %6 : f32
      } -> tensor<20x32xf32>
      kernel.yield %r : tensor<20x32xf32>
    }
    func.return %y : tensor<20x32xf32>
  }
}
