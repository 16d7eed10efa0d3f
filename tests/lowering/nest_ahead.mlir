// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx512},linalg-to-loops{target=avx512}' | filecheck %s

// 4 MB that are read twice, row by row: the loop that reads a row for the last time asks for the next one, the one before it, which waits
// for nothing, for the row that will be written.
// CHECK: func.func private @k0
// CHECK-DAG: [[ROW:%[0-9]+]] = arith.constant 1024 : index
// CHECK: scf.for
// CHECK: scf.for
// CHECK: kernel.prefetch written [[OUT:%[0-9]+]]
// CHECK-NEXT: vector.load
// CHECK-NEXT: arith.maximumf
// CHECK: vector.shuffle
// CHECK-NOT: kernel.prefetch
// CHECK: scf.for
// CHECK: [[HERE:%[0-9]+]] = arith.addi
// CHECK-NEXT: arith.addi [[HERE]], [[ROW]]
// CHECK-NEXT: kernel.prefetch near
// CHECK-NEXT: [[X:%[0-9]+]] = vector.load %{{[0-9]+}}{{.}}[[HERE]]
// CHECK-NEXT: arith.subf [[X]]
// CHECK-NEXT: vector.store %{{[0-9]+}}, [[OUT]][[[HERE]]]
// Read once: by less than a row.
// CHECK: func.func private @k1
// CHECK: kernel.prefetch near
// CHECK-NEXT: vector.load
// What fits a second-level cache, and rows that every row reads again, are near anyway.
// CHECK: func.func private @k2
// CHECK-NOT: kernel.prefetch
// A sum of columns goes down its rows: by eight of them, of which a step reads 64 numbers each.
// CHECK: func.func private @k3
// CHECK-DAG: [[ROWS:%[0-9]+]] = arith.constant 8192 : index
// CHECK: iter_args
// CHECK-NEXT: arith.muli
// CHECK-NEXT: [[AT:%[0-9]+]] = arith.addi
// CHECK-NEXT: arith.addi [[AT]], [[ROWS]]
// CHECK-NEXT: kernel.prefetch near
// CHECK-NEXT: vector.load %{{[0-9]+}}{{.}}[[AT]]
// CHECK: func.func @main
func.func @main(%x: tensor<1024x1024xf32>, %y: tensor<64x1024xf32>, %z: tensor<1024x1024xf32>, %w: tensor<1024x1024xf32>) -> (tensor<1024x1024xf32>, tensor<1024x1024xf32>, tensor<64x1024xf32>, tensor<1x1024xf32>) {
  %0 = prim.max %x {axes = array<i64: 1>} : (tensor<1024x1024xf32>) -> tensor<1024x1xf32>
  %1 = prim.expand %0 {to = array<i64: 1024, 1024>} : (tensor<1024x1xf32>) -> tensor<1024x1024xf32>
  %2 = prim.sub %x, %1 : (tensor<1024x1024xf32>, tensor<1024x1024xf32>) -> tensor<1024x1024xf32>
  %4 = prim.exp %z : (tensor<1024x1024xf32>) -> tensor<1024x1024xf32>
  %3 = prim.mul %y, %y : (tensor<64x1024xf32>, tensor<64x1024xf32>) -> tensor<64x1024xf32>
  %5 = prim.sum %w {axes = array<i64: 0>} : (tensor<1024x1024xf32>) -> tensor<1x1024xf32>
  func.return %2, %4, %3, %5 : tensor<1024x1024xf32>, tensor<1024x1024xf32>, tensor<64x1024xf32>, tensor<1x1024xf32>
}
